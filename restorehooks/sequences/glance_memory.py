"""What a session's last glance has found out, for the next one in the same session.

Whoever writes a row, moves a sequence back or changes the catalogue has been given a transaction
id. So where the server has handed out none since a glance began, and nobody had one then, all is
as it was, and one short message proves it. Sequences of unlogged tables are moved without an id.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from restorehooks.driver import sql, text

from .session import AS_WRITTEN, OWN_SCHEMAS, REMEMBER_OWN_SCHEMAS

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from .sending import Rows, Statement


@dataclass
class Memory:
    """What is known of one session.

    ``fine`` is the state that its last glance began with, and the tables that it asked for, where
    all was fine. ``reset_path`` is the ``search_path`` that the session began with, None before it
    was asked for; ``is_given``: the connection's options have set it. ``is_direct``: no pooler is
    in between, which could hand this session's prepared statements to others. ``plan`` is the
    query that is prepared, and ``runs`` how often it has been run.
    """

    fine: tuple[str, frozenset[str]] | None = None
    reset_path: str | None = None
    is_given: bool = False
    is_direct: bool = False
    plan: str | None = None
    runs: int = 0

    @classmethod
    def of(cls, connection: BaseDatabaseWrapper) -> Memory:
        """Return the one of a connection's present session."""
        connection.ensure_connection()
        return _SESSIONS.setdefault(connection.connection, cls())

    def keep(self, state: Rows, tables: Collection[str]) -> None:
        """Take in that all is fine since this state."""
        ((now,),) = state
        self.fine = None if now is None else (now, frozenset(tables))

    def still_holds(self, state: Rows, tables: Collection[str]) -> bool:
        """Whether all was fine at the last glance and cannot have changed by now."""
        ((now,),) = state
        return now is not None and self.fine == (now, frozenset(tables))

    @property
    def remembering(self) -> list[str]:
        """The expressions to evaluate before the message's own settings."""
        return [REMEMBER_PATH_SETTING, self._own_schemas, AS_WRITTEN]

    @property
    def _own_schemas(self) -> str:
        if self.reset_path is None:
            return REMEMBER_OWN_SCHEMAS
        reset = text(sql.Literal(self.reset_path))
        is_own = "true" if self.is_given else f"{PATH_SETTING} OPERATOR(pg_catalog.<>) {reset}"
        schemas = f"CASE WHEN {is_own} THEN {OWN_SCHEMAS} END"
        return f"pg_catalog.set_config('restorehooks.schemas', {schemas}, true)"

    @property
    def questions(self) -> list[Statement]:
        """The statements about the session itself, the last ones of a message."""
        return [] if self.reset_path is not None else [RESET_PATH, ABOUT_PATH]

    def learn(self, connection: BaseDatabaseWrapper, answers: list[Rows]) -> None:
        """Take in the answers to them."""
        if answers:
            ((self.reset_path, self.is_given, pid),) = answers[-1]
            self.is_direct = pid == connection.connection.info.backend_pid

    def planned(self, query: str) -> list[Statement]:
        """Return the statements that run a query, the last of them for its rows.

        Planning takes longer than running it. The catalogue grows, so it is planned anew at times.
        """
        if not self.is_direct:
            return [query]
        anew: list[Statement] = []
        if self.plan != query or self.runs >= RUNS_OF_A_PLAN:
            anew = [] if self.plan is None else [f"DEALLOCATE {PLAN}"]
            anew.append(f"PREPARE {PLAN} AS {query}")
            self.plan, self.runs = query, 0
        self.runs += 1
        return [*anew, f"EXECUTE {PLAN}"]

    def gives_up_plan(self) -> bool:
        """Prepare nothing in this session any more; return whether anything was."""
        was_prepared, self.plan, self.is_direct = self.plan is not None, None, False
        return was_prepared


PLAN = "restorehooks_links"
RUNS_OF_A_PLAN = 10
_SESSIONS: WeakKeyDictionary[Any, Memory] = WeakKeyDictionary()
PATH_SETTING = "pg_catalog.current_setting('search_path')"
REMEMBER_PATH_SETTING = f"pg_catalog.set_config('restorehooks.path_setting', {PATH_SETTING}, true)"
STATE = """
SELECT CASE WHEN age(pg_snapshot_xmin(now)::xid) = 0  -- the oldest id that is not done with
       THEN json_build_array(now::text, pg_backend_pid(), pg_postmaster_start_time()::text,
                             current_user, session_user,
                             current_setting('restorehooks.path_setting'))::text END
FROM (SELECT pg_current_snapshot() AS now OFFSET 0) s
"""
"""NULL where somebody has a transaction id; else what is another text as soon as one is handed out
or as this session is another one, has another role or resolves names elsewhere. ``age()`` counts
from the next id that will be."""
RESET_PATH = "SET LOCAL search_path TO DEFAULT"
ABOUT_PATH = (
    "SELECT reset_val, source OPERATOR(pg_catalog.=) 'client', pg_catalog.pg_backend_pid()"
    " FROM pg_catalog.pg_settings"
    " WHERE name OPERATOR(pg_catalog.=) 'search_path'"
)
"""After RESET_PATH ``source`` says where that comes from. To ask for it takes half a millisecond:
the view puts every setting together."""
