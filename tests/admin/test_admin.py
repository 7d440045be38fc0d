"""The page "Sequences", over real HTTP: what it shows, who may see it, and what it repairs."""

from __future__ import annotations

import csv
import json
import re
from html import escape, unescape
from io import StringIO
from time import monotonic

import pytest

from tests.admin.site import APPS, PAGE, SETTINGS, Answer, Site, Visitor
from tests.support.databases import Database
from tests.support.projects import Project
from tests.support.rules import RULES, load
from tests.support.rules import upcoming as next_number
from tests.support.sequences import next_of

CONFIRMED = {"action": "repair_sequences", "confirmed": "yes"}
NASTY = [
    '"<script>alert(1)</script>"',
    '"it\'s ""quoted"" %s {{ x }}&amp;"',
    '"größe/数?#"',
]


def make(database: Database, *names: str, rows: int = 5) -> None:
    """Make tables in a schema of this test, with rows that no sequence has heard of."""
    database.execute("CREATE SCHEMA IF NOT EXISTS t_made")
    for name in names:
        database.execute(
            f"CREATE TABLE t_made.{name} (id serial PRIMARY KEY);"
            f"INSERT INTO t_made.{name} SELECT generate_series(1, {rows})"
        )


def repair(visitor: Visitor, *sequences: str, alias: str = "default") -> Answer:
    """Confirm the repair of these sequences at once."""
    keys = [f"{alias}:{sequence}" for sequence in sequences]
    return visitor.post(f"{PAGE}database/{alias}/", {**CONFIRMED, "_selected_action": keys})


def row(answer: Answer, sequence: str) -> list[str]:
    """Return the cells of one sequence, but for its checkbox."""
    (found,) = [cells for cells in answer.rows if any(c.split()[:1] == [sequence] for c in cells)]
    return found[-5:]


def logged(site: Site) -> list[tuple[str, str, str]]:
    return site.database.execute(
        "SELECT object_id, object_repr, change_message FROM django_admin_log ORDER BY object_id"
    )


# What it shows.


def test_each_sequence_has_its_numbers_and_the_worst_come_first(site: Site) -> None:
    make(site.database, "late", rows=7)
    site.database.execute(
        "CREATE TABLE t_made.full (id smallserial PRIMARY KEY);"
        "INSERT INTO t_made.full VALUES (32767);"
        "CREATE TABLE t_made.odd (id bigint DEFAULT nextval('t_made.late_id_seq') + 1);"
        "CREATE TABLE t_made.halfway (id smallserial PRIMARY KEY);"
        "SELECT setval('t_made.halfway_id_seq', 16384);"
        "CREATE TABLE t_made.late2 (id serial PRIMARY KEY); INSERT INTO t_made.late2 VALUES (9)"
    )
    site.database.execute("INSERT INTO shop_order (name) VALUES ('a'), ('b')")

    page = site.visitor().get(PAGE)

    assert [cells[-4] for cells in page.rows][:5] == [
        "exhausted",
        "behind",
        "unverified",
        "ok",
        "ok",
    ]
    assert page.rows[3][-5].split()[0] == "t_made.halfway_id_seq"
    assert row(page, "t_made.late2_id_seq") == [
        "t_made.late2_id_seq t_made.late2.id",
        "behind",
        "1",
        "9",
        "0%",
    ]
    assert row(page, "t_made.halfway_id_seq")[1:] == ["ok", "16385", "-", "50%"]
    assert row(page, "public.shop_order_id_seq") == [
        "public.shop_order_id_seq public.shop_order.id shop.Order",
        "ok",
        "3",
        "2",
        "0%",
    ]
    assert "ALTER SEQUENCE t_made.full_id_seq AS" in row(page, "t_made.full_id_seq")[0]
    assert "the default of t_made.odd.id is more than nextval" in page.rows[2][-5]
    assert '<meter min="0" max="100" low="80" high="80" optimum="0" value="50"' in page.text


def test_a_tenant_sees_and_moves_its_own_schemas_only(site: Site) -> None:
    for schema in ("t_acme", "t_globex"):
        site.database.execute(
            f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.bill (id serial PRIMARY KEY);"
            f"INSERT INTO {schema}.bill VALUES (7)"
        )
    visitor = site.visitor()

    def seen(address: str) -> set[str]:
        return {cells[-5].split()[0].partition(".")[0] for cells in visitor.get(address).rows}

    assert seen(f"{PAGE}?tenant=t_acme") == {"t_acme", "public"}
    assert {"t_acme", "t_globex"} <= seen(PAGE)
    assert {"t_acme", "t_globex"} <= seen(f"{PAGE.replace('/admin/', '/third/')}?tenant=t_acme")

    keys = [f"default:{schema}.bill_id_seq" for schema in ("t_acme", "t_globex")]
    visitor.post(f"{PAGE}database/default/?tenant=t_acme", {**CONFIRMED, "_selected_action": keys})
    assert next_of(site.database, "t_acme.bill_id_seq") == 8
    assert next_of(site.database, "t_globex.bill_id_seq") == 1


def test_the_page_calls_nobody_s_function(site: Site) -> None:
    role = site.database.role("mallory")
    site.database.execute(f"CREATE SCHEMA t_m AUTHORIZATION {role}")
    try:
        with site.database.connect(user=role) as mallory:
            mallory.execute(
                """
                CREATE TABLE t_m.log (who text); GRANT ALL ON t_m.log TO PUBLIC;
                CREATE FUNCTION t_m.note() RETURNS void LANGUAGE sql AS
                    $$ INSERT INTO t_m.log VALUES (user) $$;
                CREATE FUNCTION t_m.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
                    $$ BEGIN PERFORM t_m.note(); RETURN true; END $$;
                CREATE TABLE t_m.t (id serial PRIMARY KEY);
                CREATE INDEX ON t_m.t (id) WHERE t_m.f(1);
                INSERT INTO t_m.t VALUES (50);
                DELETE FROM t_m.log
                """
            )
            page = site.visitor().get(PAGE)
            repair(site.visitor(), "t_m.t_id_seq")
            assert mallory.execute("SELECT count(*) FROM t_m.log").fetchone() == (0,)
        assert row(page, "t_m.t_id_seq")[1] == "unverified"
        assert "t_m.f" in row(page, "t_m.t_id_seq")[0]
    finally:
        site.database.execute(f"DROP OWNED BY {role} CASCADE")
        site.database.execute(f"DROP ROLE {role}")


def test_filters_count_and_a_search_looks_at_sequence_column_and_model(site: Site) -> None:
    make(site.database, "late", "later")
    visitor = site.visitor()
    page = visitor.get(PAGE)
    assert {"behind (2)", "no model (2)", "migrations (1)", "auth (6)"} <= set(page.filters)

    def found(query: str) -> list[str]:
        return sorted(cells[-5].split()[0] for cells in visitor.get(f"{PAGE}?{query}").rows)

    late = ["t_made.late_id_seq", "t_made.later_id_seq"]
    assert found("status=behind") == late
    assert found("status=behind&app=-") == late
    assert found("status=behind&app=shop") == []
    assert found("app=shop") == ["public.shop_order_id_seq"]
    assert found("q=LATER") == late[1:]
    assert found("q=shop.order") == ["public.shop_order_id_seq"]
    assert found("q=late+later.id") == late[1:]
    assert found("q=%25") == []
    assert found("status=nonsense") == []


def test_thousands_are_paged_by_a_hundred(site: Site) -> None:
    for start in (0, 1000, 2000):  # the locks of a statement are limited
        site.database.execute(
            f"CREATE SCHEMA t_{start}; DO $$ BEGIN FOR n IN 1..1000 LOOP"
            f" EXECUTE format('CREATE SEQUENCE t_{start}.many_%s', n); END LOOP; END $$"
        )
    make(site.database, "late")
    visitor = site.visitor()
    began = monotonic()
    first = visitor.get(PAGE)
    assert monotonic() - began < 5
    assert len(first.rows) == 100
    assert first.rows[0][-4] == "behind"
    total = int(first.text.split(" sequences\n")[0].rsplit(None, 1)[-1])
    assert total > 3000
    last = visitor.get(f"{PAGE}?p={-(-total // 100)}")
    assert len(last.rows) == total % 100 or 100
    seen = {cells[-5] for page in (first, last) for cells in page.rows}
    assert len(seen) == len(first.rows) + len(last.rows)
    site.clear()


@pytest.mark.parametrize("query", ["p=99", "p=x", "nonsense=1", "o=3.-2"])
def test_an_address_that_makes_no_sense_still_shows_the_list(site: Site, query: str) -> None:
    page = site.visitor().get(f"{PAGE}?{query}")
    assert page.code == 200
    assert row(page, "public.shop_order_id_seq")


def test_one_sequence_may_number_many_columns(site: Site) -> None:
    site.database.execute("CREATE SCHEMA t_made; CREATE SEQUENCE t_made.shared")
    for n in range(8):
        site.database.execute(f"CREATE TABLE t_made.t{n} (id int DEFAULT nextval('t_made.shared'))")
    cell = row(site.visitor().get(PAGE), "t_made.shared")[0]
    assert cell.startswith("t_made.shared t_made.t0.id, ")
    assert cell.endswith("t_made.t4.id and 3 more")


def test_columns_sort_by_number_and_by_natural_names(site: Site) -> None:
    make(site.database, "t2", "t10", rows=3)
    site.database.execute(
        "SELECT setval('t_made.t2_id_seq', 2000000000), setval('t_made.t10_id_seq', 5000)"
    )
    visitor = site.visitor()

    def first(query: str) -> list[str]:
        rows = visitor.get(f"{PAGE}?q=t_made&{query}").rows
        return [cells[-5].split()[0] for cells in rows]

    t2, t10 = "t_made.t2_id_seq", "t_made.t10_id_seq"
    page = visitor.get(f"{PAGE}?q=t_made").text
    used = re.search(r'column-used.*?href="\?([^"]*)"', page, re.S)
    assert used is not None
    assert first(unescape(used[1])) == [t2, t10]  # one click: nearest the end first
    assert first("o=1") == [t2, t10]
    assert first("o=-1") == [t10, t2]
    assert first("o=3") == [t10, t2]
    assert first("o=-3") == [t2, t10]


def test_the_sql_that_mends_it_is_there_to_copy(site: Site) -> None:
    make(site.database, "late", rows=7)
    site.database.execute(
        "CREATE TABLE t_made.full (id smallserial PRIMARY KEY); INSERT INTO t_made.full"
        " VALUES (32767); SELECT setval('t_made.full_id_seq', 32767)"
    )
    page = site.visitor().get(f"{PAGE}?q=t_made")
    assert len(page.statements) == 2
    for statement in page.statements:
        site.database.execute(statement)
    assert next_of(site.database, "t_made.late_id_seq") == 8
    site.database.execute("INSERT INTO t_made.full DEFAULT VALUES")
    assert site.visitor().get(f"{PAGE}?q=t_made").statements == []


def test_a_model_leads_to_its_list_where_one_may_see_it(site: Site) -> None:
    link = 'href="/admin/auth/user/">auth.User</a>'
    assert link in site.visitor().get(PAGE).text
    seen = site.visitor("viewer").get(PAGE).text
    assert "auth.User" in seen
    assert link not in seen


def test_the_list_as_a_file(site: Site) -> None:
    make(site.database, "late", "later")
    visitor = site.visitor("viewer")
    page = visitor.get(f"{PAGE}?status=behind&q=later").text
    addresses = [unescape(found) for found in re.findall(r'href="(sequences\.[^"]+)"', page)]
    assert addresses == [f"sequences.{kind}?q=later&status=behind" for kind in ("csv", "json")]
    as_csv = list(csv.DictReader(StringIO(visitor.get(PAGE + addresses[0]).text)))
    (found,) = json.loads(visitor.get(PAGE + addresses[1]).text)["sequences"]
    assert [each["sequence"] for each in as_csv] == [found["sequence"]] == ["t_made.later_id_seq"]
    assert (as_csv[0]["status"], as_csv[0]["extreme"]) == ("behind", "5")
    assert len(list(csv.reader(StringIO(visitor.get(f"{PAGE}sequences.csv").text)))) > 9
    assert visitor.get(f"{PAGE}database/down/sequences.json").code == 503
    assert site.visitor("stranger").get(f"{PAGE}sequences.csv").code == 403
    other = visitor.get(f"{PAGE}database/other/sequences.csv").text
    assert "t_made" not in other
    assert "shop_order" in other


# Who may.


@pytest.mark.parametrize(
    ("name", "code", "sees", "repairs"),
    [
        ("root", 200, True, True),
        ("repairer", 200, True, True),
        ("viewer", 200, True, False),
        ("blind", 403, False, False),
        ("stranger", 403, False, False),
        ("customer", 200, False, False),  # the login page
    ],
)
def test_looking_and_repairing_have_permissions_of_their_own(
    site: Site, name: str, code: int, sees: bool, repairs: bool
) -> None:
    make(site.database, "late")
    visitor = site.visitor(name)
    page = visitor.get(PAGE)
    assert page.code == code
    assert visitor.get(f"{PAGE}default:late/change/").code == code
    assert bool(page.rows) is sees
    assert ("repair_sequences" in page.text) is repairs
    assert ('href="/admin/restorehooks/sequence/"' in visitor.get("/admin/").text) is sees

    repair(visitor, "t_made.late_id_seq")
    assert next_of(site.database, "t_made.late_id_seq") == (6 if repairs else 1)
    assert len(logged(site)) == repairs


def test_nobody_gets_in_without_a_password_or_a_token(site: Site) -> None:
    make(site.database, "late")
    nobody = Visitor(site.address)
    assert nobody.get(PAGE).address.startswith("/admin/login/")
    repair(nobody, "t_made.late_id_seq")
    key = {"_selected_action": "default:t_made.late_id_seq"}
    assert site.visitor().post(PAGE, {**CONFIRMED, **key}, csrf=False).code == 403
    assert next_of(site.database, "t_made.late_id_seq") == 1


@pytest.mark.parametrize("address", ["add/", "default:x/delete/", "default:x/history/"])
def test_there_is_nothing_to_add_or_delete(site: Site, address: str) -> None:
    assert site.visitor().get(PAGE + address).code == 404


# What it repairs.


def test_a_repair_asks_first_and_moves_what_was_selected(site: Site) -> None:
    make(site.database, "one", "two", "three")
    visitor = site.visitor("repairer")
    keys = [f"default:t_made.{name}_id_seq" for name in ("one", "two")]
    chosen = {"_selected_action": keys, "action": "repair_sequences"}

    asked = visitor.post(f"{PAGE}?status=behind", {**chosen, "index": "0"})
    assert "Repair 2 sequences?" in asked.text
    assert asked.rows == [
        ["t_made.one_id_seq", "1", "5", "6"],
        ["t_made.two_id_seq", "1", "5", "6"],
    ]
    assert next_of(site.database, "t_made.one_id_seq") == 1
    assert logged(site) == []

    done = visitor.post(f"{PAGE}?status=behind", {**chosen, "confirmed": "yes"})
    assert done.address == f"{PAGE}?status=behind"
    assert done.said == [
        "Moved 2 sequences past their rows: t_made.one_id_seq to 6, t_made.two_id_seq to 6."
    ]
    assert [cells[-5].split()[0] for cells in done.rows] == ["t_made.three_id_seq"]
    assert [next_of(site.database, f"t_made.{n}_id_seq") for n in ("one", "two", "three")] == [
        6,
        6,
        1,
    ]
    assert logged(site) == [
        (
            "default:",
            "2 sequences (default)",
            "Moved 2 sequences: t_made.one_id_seq from 1 to 6, t_made.two_id_seq from 1 to 6.",
        )
    ]


def test_all_that_are_behind_are_repaired_at_once(site: Site) -> None:
    names = [f"t{n}" for n in range(130)]
    make(site.database, *names)
    visitor = site.visitor()
    assert "Repair all 130 that are behind" in visitor.get(PAGE).text
    every = {"_selected_action": "all", "select_across": "1", "action": "repair_sequences"}
    asked = visitor.post(PAGE, every)
    assert len(asked.rows) == 100
    assert "And 30 more." in asked.text
    done = visitor.post(PAGE, {**every, "confirmed": "yes"})
    assert done.said[0].startswith("Moved 130 sequences past their rows: t_made.t0_id_seq to 6, ")
    assert done.said[0].endswith(" and 125 more.")
    assert "that are behind" not in done.text
    assert {next_of(site.database, f"t_made.{name}_id_seq") for name in names} == {6}
    ((_, name, change),) = logged(site)
    assert name == "130 sequences (default)"
    assert "t_made.t129_id_seq from 1 to 6" in change


def test_what_needs_no_repair_has_no_checkbox_and_is_left_alone(site: Site) -> None:
    site.database.execute(
        "CREATE SCHEMA t_made; CREATE TABLE t_made.full (id smallserial PRIMARY KEY);"
        "INSERT INTO t_made.full VALUES (32767)"
    )
    visitor = site.visitor()
    assert '<input type="checkbox" name="_selected_action"' not in visitor.get(PAGE).text
    for name in ("t_made.full_id_seq", "public.shop_order_id_seq", "t_made.nosuch"):
        assert repair(visitor, name).said == [
            "Nothing was changed: none of these sequences is behind its rows."
        ]
    assert next_of(site.database, "t_made.full_id_seq") == 1
    assert logged(site) == []


@pytest.mark.parametrize("name", NASTY)
def test_whatever_a_sequence_is_called(site: Site, name: str) -> None:
    sequence = f"t_made.{name}"
    site.database.execute(
        f"CREATE SCHEMA t_made; CREATE TABLE t_made.t (id bigint); INSERT INTO t_made.t VALUES (5);"
        f"CREATE SEQUENCE {sequence} OWNED BY t_made.t.id"
    )
    visitor = site.visitor()
    page = visitor.get(f"{PAGE}?status=behind")
    asked = visitor.post(
        PAGE, {"action": "repair_sequences", "_selected_action": f"default:{sequence}"}
    )
    done = repair(visitor, sequence)
    assert done.said == [f"Moved 1 sequence past its rows: {sequence} to 6."]
    for each in (page, asked, done):
        assert escape(sequence) in each.text
        assert "<script>alert" not in each.text

    recent = visitor.get("/admin/").text
    assert escape(f"{sequence} (default)") in recent
    (link,) = re.findall(r'href="(/admin/restorehooks/sequence/[^"]*/change/)"', recent)
    (found,) = visitor.get(unescape(link)).rows
    assert found[-5] == f"{sequence} t_made.t.id"


def test_a_table_that_is_locked_fails_soon_and_the_others_are_repaired(site: Site) -> None:
    make(site.database, "locked", "free")
    visitor = site.visitor()
    with site.database.connect(autocommit=False) as other:
        other.execute("LOCK TABLE t_made.locked")
        began = monotonic()
        page = visitor.get(PAGE)
        assert monotonic() - began < 5
        assert row(page, "t_made.locked_id_seq")[1] == "failed"
        assert "lock timeout" in row(page, "t_made.locked_id_seq")[0]
        done = repair(visitor, "t_made.free_id_seq")
        assert done.said == ["Moved 1 sequence past its rows: t_made.free_id_seq to 6."]


def test_every_rule_is_shown_and_repaired(site: Site) -> None:
    answers: dict[str, tuple[str, int]] = {}
    for file in RULES:
        if "{mallory}" not in file.read_text():  # those with a role of their own
            answers |= load(site.other, file)
    visitor = site.visitor()
    page = visitor.get(f"{PAGE}database/other/")
    shown = {name: row(page, name)[1] for name in answers}
    behind = [name for name, (status, _) in answers.items() if status == "advanced"]
    assert shown == {
        name: "behind" if name in behind else status for name, (status, _) in answers.items()
    }
    repair(visitor, *behind, alias="other")
    assert {name: next_number(site.other, name) for name in answers} == {
        name: number for name, (_, number) in answers.items()
    }


def test_a_connection_that_is_read_only_says_so(site: Site) -> None:
    make(site.other, "late")
    chosen = {**CONFIRMED, "_selected_action": ["other:t_made.late_id_seq"]}
    done = site.visitor().post(f"{PAGE}database/other/?read_only=1", chosen)
    assert done.said == ["Nothing was changed: transactions are read-only here."]
    assert next_of(site.other, "t_made.late_id_seq") == 1
    assert logged(site) == []


# Several databases, and no database.


def test_each_database_has_a_page_of_its_own(site: Site) -> None:
    make(site.database, "here")
    make(site.other, "there")
    visitor = site.visitor()
    assert visitor.get(PAGE).filters[:4] == ["default", "down", "lite", "other"]
    other = visitor.get(f"{PAGE}database/other/")
    assert row(other, "t_made.there_id_seq")[1] == "behind"
    assert "t_made.here" not in other.text
    # The router keeps auth's models out of that database, and shop's in.
    assert row(other, "public.shop_order_id_seq")[0].endswith("shop.Order")

    done = repair(visitor, "t_made.there_id_seq", alias="other")
    assert done.address == f"{PAGE}database/other/"
    assert next_of(site.other, "t_made.there_id_seq") == 6
    assert next_of(site.database, "t_made.here_id_seq") == 1
    assert logged(site)[0][:2] == ("other:t_made.there_id_seq", "t_made.there_id_seq (other)")


def test_a_key_of_another_database_is_not_repaired(site: Site) -> None:
    make(site.database, "late")
    make(site.other, "late")
    fields = {**CONFIRMED, "_selected_action": "default:t_made.late_id_seq"}
    done = site.visitor().post(f"{PAGE}database/other/", fields)
    assert done.said == ["Nothing was changed: none of these sequences is behind its rows."]
    assert next_of(site.other, "t_made.late_id_seq") == 1


def test_a_database_that_is_down_or_of_another_engine_is_one_line(site: Site) -> None:
    visitor = site.visitor()
    down = visitor.get(f"{PAGE}database/down/")
    assert (down.code, down.rows) == (200, [])
    assert down.problem.startswith("Database “down” cannot be asked: ")
    assert "127.0.0.1" in down.problem
    assert visitor.get(f"{PAGE}database/lite/").problem == (
        "Database “lite” is on sqlite, not on PostgreSQL."
    )
    assert repair(visitor, "public.x_id_seq", alias="down").problem == down.problem


def test_a_database_that_is_down_does_not_hold_up_the_page_of_another(site: Site) -> None:
    printed = site.project.shell(
        f"""
        from django.contrib.auth.models import User
        from django.db import connections
        from django.test import Client
        connections.settings["down"]["ATOMIC_REQUESTS"] = True
        client = Client()
        client.force_login(User.objects.get(username="root"))
        for address in ("{PAGE}", "{PAGE}database/down/"):
            print(client.get(address, headers={{"host": "localhost"}}).status_code)
        """
    )
    assert printed.split() == ["200", "200"]


def test_an_alias_that_is_not_there_is_one_line(site: Site) -> None:
    page = site.visitor().get(f"{PAGE}database/nosuch/")
    assert page.address == PAGE
    assert page.said == ["There is no database “nosuch”; there are: default, down, lite, other."]
    refused = site.visitor("stranger").get(f"{PAGE}database/nosuch/")
    assert (refused.code, refused.address) == (403, f"{PAGE}database/nosuch/")


def test_another_admin_site_may_show_less(site: Site) -> None:
    make(site.database, "here")
    make(site.other, "there")
    visitor = site.visitor()
    page = visitor.get("/second/restorehooks/sequence/")
    assert row(page, "t_made.there_id_seq")
    assert "t_made.here" not in page.text
    assert 'href="/admin/' not in page.text
    refused = visitor.get("/second/restorehooks/sequence/database/default/")
    assert refused.said == ["There is no database “default”; there are: other."]
    fields = {**CONFIRMED, "_selected_action": "default:t_made.here_id_seq"}
    visitor.post("/second/restorehooks/sequence/database/default/", fields)
    assert next_of(site.database, "t_made.here_id_seq") == 1


# The model without a table.


def test_nothing_of_django_looks_for_the_table(site: Site) -> None:
    manage = site.project.manage
    assert "No changes" in manage("makemigrations", "--check", "--dry-run").stdout
    assert "restorehooks.sequence" not in manage("dumpdata", "--exclude=contenttypes").stdout
    assert manage("dumpdata", "--all", "restorehooks").stdout.strip() == "[]"
    assert "no issues" in manage("check", "--database", "default").stdout
    printed = site.project.shell(
        """
        from django.contrib.auth.models import User
        from django.db import connection
        from restorehooks.models import Sequence
        assert not Sequence.objects.exists() and not Sequence._base_manager.using("other").count()
        print("restorehooks" in connection.creation.serialize_db_to_string())
        User.objects.filter(username="blind").delete()
        """
    )
    assert printed == "True\n"  # its content type and permissions


TESTS = """
    from django.contrib.auth.models import Permission
    from django.test import TestCase, TransactionTestCase

    class Rollback(TransactionTestCase):
        serialized_rollback = True

        def test_permissions(self):
            found = Permission.objects.filter(content_type__app_label="restorehooks")
            self.assertEqual(
                sorted(found.values_list("codename", flat=True)),
                ["repair_sequence", "view_sequence"],
            )
"""


def test_the_project_s_own_tests_run(project: Project) -> None:
    project.app("shop", "class Order(models.Model):\n    pass\n")
    project.settings(
        INSTALLED_APPS=APPS,
        MIDDLEWARE=[each for each in SETTINGS["MIDDLEWARE"] if each.startswith("django.")],
        TEMPLATES=SETTINGS["TEMPLATES"],
        STATIC_URL="/static/",
    )
    project.manage("makemigrations", "shop")
    project.write("shop/tests.py", TESTS)
    assert "OK" in project.manage("test").stderr


def test_without_the_admin_there_is_no_page_and_no_permission_for_it(project: Project) -> None:
    apps = ["django.contrib.auth", "django.contrib.contenttypes", "restorehooks"]
    project.settings(INSTALLED_APPS=apps)
    project.manage("migrate")
    printed = project.shell(
        """
        from django.apps import apps
        from django.contrib.auth.models import Permission
        print(list(apps.get_app_config("restorehooks").get_models()))
        print(Permission.objects.filter(content_type__app_label="restorehooks").count())
        """
    )
    assert printed == "[]\n0\n"
    assert project.manage("dumpdata", "restorehooks").stdout.strip() == "[]"


@pytest.mark.parametrize("apps", [[], ["django.contrib.contenttypes"]])
def test_without_the_admin_nothing_of_it_is_needed(project: Project, apps: list[str]) -> None:
    project.settings(INSTALLED_APPS=[*apps, "restorehooks"])
    project.manage("check")
    project.manage("migrate")
    project.manage("flush", "--no-input")
    assert project.manage("resetsequences").returncode == 0
    code = "import sys; print([n for n in sys.modules if n.startswith('django.contrib.a')])"
    assert project.shell(code) == "[]\n"
