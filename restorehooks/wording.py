"""How errors, names and sizes are put into words: what every message here is made with."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

LONGEST = 2000
"""Characters of somebody else's message that are repeated."""


def first_line(error: BaseException | str) -> str:
    """Return the first line of what an error says; its type's name where it says nothing.

    Of a line of any length, which a function in a database may raise, only its beginning.
    """
    lines = str(error).strip()[:LONGEST].splitlines()
    if lines:
        return lines[0]
    return error if isinstance(error, str) else type(error).__name__


def described(error: BaseException, *, hiding: Iterable[str] = ()) -> str:
    """Return the type and first line of an error that somebody else's code raised.

    It shows no login and no query of an address, such as the signature of one that is signed, and
    none of the secrets in ``hiding``.
    """
    name, said = type(error).__name__, str(error)
    for secret in sorted(hiding, key=len, reverse=True):  # one may begin another
        for form in filter(str.strip, (secret, repr(secret)[1:-1], secret.strip())):
            said = said.replace(form, "...")
    said = _QUERY.sub("?...", without_login(first_line(said)))
    return f"{name}: {said}" if said else name


_QUERY = re.compile(r"\?[^\s?=]+=\S*")


def place_of(error: BaseException) -> str:
    """Return the file and line of somebody else's code that an error came through, if it did."""
    libraries = (sysconfig.get_path("stdlib"), str(Path(__file__).parent))
    own = [
        (each.filename, each.lineno)
        for each in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in each.filename and not each.filename.startswith(libraries)
    ]
    return f" ({own[-1][0]}, line {own[-1][1]})" if own else ""


def sentence(text: object) -> str:
    """Return a text that ends as a sentence does."""
    said = str(text).strip()
    return said if said.endswith((".", "!", "?")) else f"{said}."


def quoted(names: Iterable[str]) -> str:
    """Return names as a sentence lists them: ``"a", "b"``; of very many the first alone."""
    return first_of([f'"{name}"' for name in names], _MOST_NAMES)


_MOST_NAMES = 100
"""Names in one sentence: a dump may have millions."""


def no(kind: str, name: str) -> str:
    """Return that there is none of this name; it is not repeated where it may hold a password."""
    return f'no {kind} "{name}"' if _NAME.fullmatch(name) else f"no such {kind}"


_NAME = re.compile(r"[\w.+-]*")
"""What no address of a database is."""


def without_login(text: str) -> str:
    """Return a text without the logins of addresses, which hold passwords."""
    return _LOGIN.sub("/...@", text)


_LOGIN = re.compile(r"(?<=:/)\S*@")


def first_of(names: Sequence[str], most: int) -> str:
    """Return the first names, and how many more there are: ``a, b and 3 more``."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"


def printable(text: str) -> str:
    """Return a stranger's text without what would command a terminal or break a line."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each without what would command a terminal."""
    return "\n".join(map(printable, text.split("\n")))


QUOTED = re.compile(
    r"""(?P<name>"(?:[^"]|"")*")|(?P<escapes>\b[eE])?'(?:[^'\\]|''|\\.)*'""", re.DOTALL
)
"""A name in quotes or a string, as psycopg and the server write them."""


def printable_sql(statement: str) -> str:
    """Return the same statement, with whatever is not printable in its names and strings escaped.

    As ``U&"..."`` and ``E'...'``, so that it means what it meant.
    """
    return QUOTED.sub(_escaped, statement)


def _escaped(found: re.Match[str]) -> str:
    text = found[0]
    if text.isprintable():
        return text
    if found["name"]:
        return f"U&{_with_codes(text.replace(chr(92), chr(92) * 2), '', '+', 6)}"
    return _with_codes(text if found["escapes"] else f"E{text}", "u", "U", 8)


def _with_codes(text: str, short: str, long: str, digits: int) -> str:
    codes = (
        f"\\{short}{ord(char):04x}" if ord(char) < 0x10000 else f"\\{long}{ord(char):0{digits}x}"
        for char in text
    )
    return "".join(
        char if char.isprintable() else code for char, code in zip(text, codes, strict=True)
    )


def size_in_words(size: float) -> str:
    """Return a number of bytes as people read it: ``1.4 TB``, ``300 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
