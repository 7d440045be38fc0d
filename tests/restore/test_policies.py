"""Policies for roles that are not here: kept where they can be, and never open to more people."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from restorehooks.restore.errors import RestoreError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.script.options import ScriptOptions
from restorehooks.restore.script.policies import policy
from restorehooks.restore.script.verdicts import LeaveOut, Replaced
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, contents, dumped, neighbours

SECRETS = """
CREATE TABLE secret (id int, team text);
INSERT INTO secret VALUES (1, 'a'), (2, 'b');
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE TABLE hidden (id int); INSERT INTO hidden VALUES (1);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY "for; both" ON secret FOR SELECT TO {here}, {gone} USING (id < 10);
CREATE POLICY narrow ON secret AS RESTRICTIVE TO {gone} USING (team = 'a');
CREATE POLICY alone ON hidden TO {gone} USING (id > 0) WITH CHECK (id = 1);
COMMENT ON POLICY alone ON hidden IS 'a comment'; COMMENT ON POLICY narrow ON secret IS 'kept';
GRANT SELECT ON secret, hidden TO {here};
"""
POLICIES = """
SELECT polname::text, polroles = '{0}', array_length(polroles, 1),
       obj_description(oid, 'pg_policy') FROM pg_policy ORDER BY 1
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("in_place", [False, True])
def test_what_can_be_kept_is_kept_and_nothing_is_open_to_more(
    database: Database, make_database: MakeDatabase, tmp_path: Path, form: str, in_place: bool
) -> None:
    source = make_database()
    here, gone = database.role("here"), database.role("Go ne")
    names = {"here": sql.Identifier(here), "gone": sql.Identifier(gone)}
    source.execute(sql.SQL(SECRETS).format(**names))
    file = dumped(source, tmp_path / "d", form=form)
    source.execute(sql.SQL("DROP OWNED BY {gone}; DROP ROLE {gone}").format(**names))
    alone(database)
    if form == "custom":
        planned = restore(Request(str(file), dry_run=True)).notes
        assert len([note for note in planned if note.startswith('policy "')]) == 3
    report = restore(Request(str(file), in_place=in_place), confirm=lambda question: True)
    assert database.execute(POLICIES) == [
        ("for; both", False, 1, None),
        ("narrow", True, 1, "kept"),
    ]
    said = "\n".join(report.left_out)
    assert f'"for; both" of public.secret: the role "{gone}" does not exist here' in said
    assert '"alone" of public.hidden' in said
    assert "stays hidden" in said
    assert "restricts everybody instead" in said
    with database.connect(user=here) as connection:
        assert connection.execute("SELECT id FROM secret").fetchall() == [(1,)]
        assert connection.execute("SELECT id FROM hidden").fetchall() == []
    alone(database)


ROLES = ScriptOptions(roles=frozenset({"here", "B c"}))


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        ("CREATE POLICY p ON t USING (true)", None),
        ("CREATE POLICY p ON t TO here, PUBLIC", None),
        ("CREATE POLICY p ON t TO CURRENT_USER", None),
        ('create policy "to gone" on s."on t" to "B c" using (x)', None),
        ("CREATE POLICY p ON t TO gone", ""),
        ("CREATE POLICY p ON t AS PERMISSIVE FOR ALL TO gone WITH CHECK (y)", ""),
        (
            "CREATE POLICY p ON t FOR UPDATE TO gone, \"B c\",here\n  USING ((a = ' TO x'))",
            "CREATE POLICY p ON t FOR UPDATE TO \"B c\", here\n  USING ((a = ' TO x'))",
        ),
        (
            "CREATE POLICY p ON t AS RESTRICTIVE FOR SELECT TO here, gone USING (x)",
            "CREATE POLICY p ON t AS RESTRICTIVE FOR SELECT TO PUBLIC USING (x)",
        ),
    ],
)
def test_each_form_of_the_statement(statement: str, sent: str | None) -> None:
    verdict = policy(statement.encode(), ROLES, "utf-8")
    if isinstance(verdict, Replaced):
        assert verdict.statement.decode() == sent
    else:
        assert (verdict is None) == (sent is None)
        assert verdict is None or isinstance(verdict, LeaveOut)


@pytest.mark.parametrize("name", [b"\n\\! id\nx", b"it's bad"])
def test_a_policy_that_is_no_sql_is_a_sentence_that_names_the_archive(
    live: Database, make_database: MakeDatabase, tmp_path: Path, name: bytes
) -> None:
    source = make_database()
    source.execute("CREATE TABLE t (id int); CREATE POLICY pppppppp ON t USING (true)")
    dump = dumped(source, tmp_path / "d")
    dump.write_bytes(dump.read_bytes().replace(b"pppppppp", name))
    before = contents(live)
    with pytest.raises(RestoreError) as caught:
        restore(Request(str(dump)), confirm=lambda _: True)
    assert str(dump) in str(caught.value)
    assert str(caught.value).isprintable()
    assert (contents(live), neighbours(live)) == (before, [])
