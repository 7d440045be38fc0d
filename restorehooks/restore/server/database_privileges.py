"""The privileges on a database: who may connect to it, and by whose grant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from psycopg import sql

from restorehooks.restore.script.options import TO_SET_ROLE

from .address import Connection
from .database_property import Carry
from .live import Live

ACL = f"""
SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
       pg_catalog.pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable,
       pg_catalog.pg_has_role(a.grantor, {TO_SET_ROLE})
FROM pg_catalog.pg_database d
CROSS JOIN pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
"""  # noqa: S608 - a constant
OF_OID = ACL + "WHERE d.oid = %s ORDER BY 1 NULLS FIRST, 2, 3"
OF_NAME = ACL + "WHERE d.datname = %s ORDER BY 1 NULLS FIRST, 2, 3"
ROLE = "SELECT pg_catalog.current_setting('role')"


class Grant(NamedTuple):
    """One privilege on a database; the grantee None is PUBLIC.

    ``may_act``: the role that restores may act as the grantor.
    """

    grantee: str | None
    grantor: str
    privilege: str
    grantable: bool
    may_act: bool


def grants(connection: Connection, live: Live, to: str, *, but: str = "") -> Iterator[Carry]:
    """Yield the statements that give the database ``to`` the privileges on ``live``, no others.

    The privilege ``but`` is left out.

    A grant that another role than the owner made is made as that role again, or as the owner where
    the role that restores may not act as that one. For ``live`` itself, which a rehearsal is on,
    they are yielded too; another database that has the same already needs none.
    """
    all_of_live = map(Grant._make, connection.execute(OF_OID, [live.oid]).fetchall())
    wanted = [one for one in all_of_live if one.privilege != but]
    found = [Grant(*row) for row in connection.execute(OF_NAME, [to]).fetchall()]
    if wanted == found and to != live.name:
        return
    # What others granted goes with the grant option that they had from the owner.
    revoked = sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(
        sql.Identifier(to),
        sql.SQL(", ").join(_role(name) for name in {None, *(one.grantee for one in found)}),
    )
    yield Carry("the privileges on the database", revoked)
    row = connection.execute(ROLE).fetchone()
    acting = row[0] if row else "none"
    for one in _in_order(wanted, live.owner):
        statement = sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
            sql.SQL(one.privilege),
            sql.Identifier(to),
            _role(one.grantee),
            sql.SQL(" WITH GRANT OPTION" if one.grantable else ""),
        )
        if one.grantor != live.owner and one.may_act:
            statement = _as(one.grantor, statement, acting)
        yield Carry(f'{one.privilege} granted to "{one.grantee or "PUBLIC"}"', statement)


def lost_grantors(connection: Connection, live: Live) -> list[str]:
    """Return who made grants on ``live`` that this role may not make again in their name."""
    found = map(Grant._make, connection.execute(OF_OID, [live.oid]).fetchall())
    return sorted({one.grantor for one in found if one.grantor != live.owner and not one.may_act})


def _in_order(wanted: Iterable[Grant], owner: str) -> Iterator[Grant]:
    """Yield grants so that each one's grantor has the right to it by then."""
    left, may = list(wanted), {(owner, one.privilege) for one in wanted}
    while ready := [one for one in left if (one.grantor, one.privilege) in may]:
        yield from ready
        may |= {(str(one.grantee), one.privilege) for one in ready if one.grantable}
        left = [one for one in left if one not in ready]
    yield from left


def _as(role: str, statement: sql.Composed, before: str) -> sql.Composed:
    return sql.SQL("SET LOCAL ROLE {}; {}; SET LOCAL ROLE {}").format(
        sql.Identifier(role),
        statement,
        sql.SQL("NONE") if before == "none" else sql.Identifier(before),
    )


def _role(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)
