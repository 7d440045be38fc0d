"""restoredb as it is used: a real process, a real server, what a person sees and has afterwards."""

from __future__ import annotations

import gzip
import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from restorehooks.restore.server import sides
from restorehooks.restore.server.address import Address
from restorehooks.restore.server.lock import RestoreLock
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import SHOP, alone, contents, dumped, neighbours
from tests.support.projects import Project

YES = "--no-input"


def is_the_shop(database: Database) -> bool:
    counted = database.execute(
        "SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM purchase)"
    )
    inserted = database.execute(
        "WITH c AS (INSERT INTO customer (email) VALUES ('new') RETURNING id), "
        "p AS (INSERT INTO purchase (customer_id) VALUES (1) RETURNING id) "
        "SELECT c.id, p.id FROM c, p"
    )
    alone(database)
    return (counted, inserted) == ([(500, 5000)], [(501, 5001)])


def test_it_replaces_repairs_keeps_and_undoes(
    project: Project, live: Database, backup: Path
) -> None:
    before = contents(live)
    done = project.manage("restoredb", str(backup), YES)
    assert is_the_shop(live)
    (kept,) = neighbours(live)
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f'Restored "{live.name}" in ')
    assert kept in last
    undone = project.manage("restoredb", "--undo", YES)
    assert f'"{live.name}" again' in undone.stdout
    assert contents(live) == before
    assert len(neighbours(live)) == 1
    dropped = project.manage("restoredb", "--drop-previous", YES)
    assert dropped.stdout.startswith(f'Dropped "{live.name}_before_')
    assert neighbours(live) == []


@pytest.mark.parametrize("form", ["custom", "directory", "tar", "plain"])
def test_every_format_into_a_missing_database(
    project: Project, make_database: MakeDatabase, database: Database, tmp_path: Path, form: str
) -> None:
    shop = make_database()
    shop.execute(SHOP)
    shop.execute("SELECT setval('customer_id_seq', 1, false), setval('purchase_id_seq', 10)")
    dump = dumped(shop, tmp_path / "odd name; $(x)", form=form)
    alone(database)
    with RestoreLock(Address.of("default")) as lock:
        sides.drop(lock, database.name)
    done = project.manage("restoredb", str(dump))
    assert done.stdout.splitlines()[-1].endswith("There was nothing to keep.")
    assert is_the_shop(database)
    assert neighbours(database) == []


def test_from_stdin_compressed(project: Project, live: Database, backup: Path) -> None:
    packed = gzip.compress(backup.read_bytes())
    done = subprocess.run(
        [sys.executable, "manage.py", "restoredb", "-", YES],
        cwd=project.folder,
        env=project.environ,
        input=packed,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert is_the_shop(live)


def test_nobody_to_ask_nothing_done(project: Project, live: Database, backup: Path) -> None:
    before = contents(live)
    done = subprocess.run(
        [sys.executable, "manage.py", "restoredb", str(backup)],
        cwd=project.folder,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # no terminal
    )
    assert done.returncode == 2
    assert live.name in done.stderr
    assert "backup.dump" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("The live database is as it was.")
    assert contents(live) == before
    assert neighbours(live) == []


ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # what /dev/tty is from now on
os.execv(sys.executable, [sys.executable, "manage.py", "restoredb", *sys.argv[1:]])
"""


def on_a_terminal(
    project: Project, terminal: tuple[int, int], answer: bytes, *arguments: str
) -> tuple[int, str]:
    """Run restoredb on a terminal, type an answer to its question, and return what it printed."""
    leader, follower = terminal
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *arguments],
        cwd=project.folder,
        env=project.environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    said = b""
    with process:
        while b"[y/N]" not in said and process.poll() is None:
            said += waiting(leader)
        os.write(leader, answer)
        while process.poll() is None:
            said += waiting(leader)
    while rest := waiting(leader):
        said += rest
    return process.returncode, said.decode()


def waiting(end: int) -> bytes:
    """Return what has been printed on a terminal; wait for it a little."""
    ready, _, _ = select.select([end], [], [], 0.05)
    return os.read(end, 1 << 20) if ready else b""


def test_a_person_who_says_no_changes_nothing(
    project: Project, live: Database, backup: Path, terminal: tuple[int, int]
) -> None:
    before = contents(live)
    code, said = on_a_terminal(project, terminal, b"n\n", str(backup))
    assert code == 1
    assert f'"{live.name}" on ' in said
    assert "MB" in said
    assert "backup.dump" in said
    assert "Not confirmed. The live database is as it was." in said
    assert contents(live) == before


def test_a_person_who_says_yes_sees_a_bar(
    project: Project, live: Database, backup: Path, terminal: tuple[int, int]
) -> None:
    code, said = on_a_terminal(project, terminal, b"yes\n", str(backup), "--jobs", "1")
    assert code == 0, said
    assert is_the_shop(live)
    # Two bars at most move on in their place, for entries and for what is built from them. Neither
    # goes beyond its end.
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert re.search(r"entries +━", plain), said
    assert not re.search(r"(?:━[^\r\n]*\r\n\r*[^\r\n]*){2}━", plain), said
    counts = re.findall(r"(\d+) of (\d+) entries", plain)
    assert counts
    assert all(int(done) <= int(total) for done, total in counts), counts


def test_an_empty_target_needs_no_question(
    project: Project, database: Database, backup: Path
) -> None:
    alone(database)
    project.manage("restoredb", str(backup))
    assert is_the_shop(database)


def test_dry_run_changes_nothing_and_says_what_would_be(
    project: Project, live: Database, backup: Path
) -> None:
    before = contents(live)
    done = project.manage("restoredb", str(backup), "--dry-run")
    assert done.stdout.splitlines()[-1] == "Nothing was changed."
    assert f'target    "{live.name}"' in done.stdout
    assert (contents(live), neighbours(live)) == (before, [])
    whole = backup.read_bytes()
    backup.write_bytes(whole[: len(whole) * 2 // 3])
    done = project.manage("restoredb", str(backup), "--dry-run", check=False)
    assert done.returncode == 1
    assert "Failed: " in done.stderr


def test_json_is_all_there_is_on_stdout(project: Project, live: Database, backup: Path) -> None:
    done = project.manage("restoredb", str(backup), YES, "--json")
    report = json.loads(done.stdout)
    assert report["restored"] is True
    assert [report["previous"]] == neighbours(live)
    assert report["target"] == live.name
    assert {one["status"] for one in report["sequences"]["sequences"]} == {"advanced"}


def test_quiet_at_verbosity_0(project: Project, live: Database, backup: Path) -> None:
    done = project.manage("restoredb", str(backup), YES, "--verbosity=0")
    assert (done.stdout, done.stderr) == ("", "")
    assert is_the_shop(live)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "SOURCE"),
        (["--undo", "a.dump"], "a.dump"),
        (["a.dump", "--jobs=0"], "--jobs"),
        (["a.dump", "--data-only", "--in-place"], "--data-only"),
        (["a.dump", "--database=nowhere"], "nowhere"),
        (["a.dump", "--no-inptu"], "There is no option --no-inptu: did you mean --no-input?"),
        (["a.dump", "b.dump"], '"b.dump" is one argument too many'),
    ],
)
def test_wrong_usage_is_one_sentence_and_2(
    project: Project, arguments: list[str], said: str
) -> None:
    done = project.manage("restoredb", *arguments, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_in_place_is_one_transaction(project: Project, live: Database, backup: Path) -> None:
    before = contents(live)
    whole = backup.read_bytes()
    cut = backup.with_name("cut.dump")
    cut.write_bytes(whole[: len(whole) // 2])
    done = project.manage("restoredb", str(cut), YES, "--in-place", check=False)
    assert done.returncode == 1
    assert contents(live) == before
    done = project.manage("restoredb", str(backup), YES, "--in-place")
    assert done.stdout.splitlines()[-1].endswith("There is no undo.")
    assert live.execute("SELECT to_regclass('precious')") == [(None,)]
    assert is_the_shop(live)
    assert neighbours(live) == []


def test_a_role_without_createdb_restores_into_an_empty_database_in_place(
    project: Project, database: Database, backup: Path
) -> None:
    limited = database.role("limited")
    database.execute(f'ALTER DATABASE "{database.name}" OWNER TO {limited}')
    alone(database)
    project.settings(DATABASES={"default": database.server.settings(database.name, USER=limited)})
    project.manage("restoredb", str(backup))
    assert is_the_shop(database)


def test_without_createdb_a_full_database_is_refused_with_the_remedy(
    project: Project, live: Database, backup: Path
) -> None:
    limited = live.role("limited")
    live.execute(f'ALTER DATABASE "{live.name}" OWNER TO {limited}')
    alone(live)
    project.settings(DATABASES={"default": live.server.settings(live.name, USER=limited)})
    before = contents(live)
    done = project.manage("restoredb", str(backup), YES, check=False)
    assert done.returncode == 1
    assert "CREATEDB" in done.stderr
    assert "--in-place" in done.stderr
    assert contents(live) == before


def test_data_only_adds_rows_in_one_transaction(
    project: Project, database: Database, backup: Path, make_database: MakeDatabase
) -> None:
    database.execute(SHOP.partition("INSERT")[0])
    database.execute("INSERT INTO customer (id, email) VALUES (1000, 'already here')")
    database.execute("CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM customer")
    database.execute("CREATE MATERIALIZED VIEW unfilled AS SELECT 1 WITH NO DATA")
    alone(database)
    done = project.manage("restoredb", str(backup), YES, "--data-only")
    assert database.execute("SELECT count(*), max(id) FROM customer") == [(501, 1000)]
    assert database.execute("SELECT count FROM counted") == [(1,)]
    assert 'note: not filled anew: "public.counted" (run REFRESH MATERIALIZED' in done.stderr
    assert "unfilled" not in done.stderr
    assert database.execute("INSERT INTO customer (email) VALUES ('x') RETURNING id") == [(1001,)]
    before = contents(database)
    done = project.manage("restoredb", str(backup), YES, "--data-only", check=False)
    assert done.returncode == 1  # every key is there already
    assert contents(database) == before


def test_one_table_never_takes_the_place_of_everything(
    project: Project, live: Database, backup: Path
) -> None:
    before = contents(live)
    done = project.manage("restoredb", str(backup), YES, "--table=customer", check=False)
    assert done.returncode == 1
    assert "--in-place" in done.stderr
    assert contents(live) == before
    project.manage("restoredb", str(backup), YES, "--table=customer", "--in-place")
    assert live.execute("SELECT (SELECT count(*) FROM precious), count(*) FROM customer") == [
        (300, 500)
    ]


def test_the_role_to_assume_and_options_are_honoured(
    project: Project, live: Database, backup: Path
) -> None:
    owner = live.role("owner", "NOLOGIN CREATEDB")
    live.execute(f'ALTER DATABASE "{live.name}" OWNER TO {owner}')
    alone(live)
    options = {"assume_role": owner, "options": "-c work_mem=7MB"}
    project.settings(DATABASES={"default": {**live.settings, "OPTIONS": options}})
    project.manage("restoredb", str(backup), YES)
    assert live.execute(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    ) == [(owner,)]
    assert is_the_shop(live)


def test_a_pool_does_not_keep_the_alias_on_the_live_database(
    project: Project, live: Database, backup: Path, tmp_path: Path
) -> None:
    project.settings(DATABASES={"default": {**live.settings, "OPTIONS": {"pool": True}}})
    hook = tmp_path / "hooks" / "scrub.py"
    hook.parent.mkdir()
    hook.write_text(
        "from django.db import connections\n"
        "with connections[using].cursor() as cursor:\n"
        "    cursor.execute('UPDATE customer SET email = %s RETURNING current_database()', ['x'])\n"
        "    print('scrubbed', cursor.fetchone()[0])\n"
    )
    before = contents(live)
    done = project.manage("restoredb", str(backup), YES, f"--hooks-dir={hook.parent}")
    assert f"scrubbed {live.name}_restoring_" in done.stderr
    assert live.execute("SELECT DISTINCT email FROM customer") == [("x",)]
    project.manage("restoredb", "--undo", YES)
    assert contents(live) == before
