"""What the commands write: lines that command no terminal, and JSON."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper

from restorehooks.streams import or_nowhere
from restorehooks.wording import printable, printable_lines


class SafeOutput(OutputWrapper):
    """A command's stdout or stderr: the one place where lines of text are written.

    Names and messages may be a stranger's. What would command a terminal is replaced, and what
    the stream's encoding does not know is escaped. ``may_be_lost``: what cannot be written, but
    for a reader who has gone away, is let go.
    """

    def __init__(self, out: Any, *, may_be_lost: bool = False) -> None:
        super().__init__(or_nowhere(out))
        self._forgives: tuple[type[OSError], ...] = (OSError,) if may_be_lost else ()

    def write(  # type: ignore[override]
        self,
        msg: str = "",
        style_func: Callable[[str], str] | None = None,
        ending: str | None = None,
    ) -> None:
        """Write a text of one or several lines."""
        self.write_safe(printable_lines(msg), style_func, ending)

    def write_safe(
        self,
        text: str,
        style_func: Callable[[str], str] | None = None,
        ending: str | None = None,
    ) -> None:
        """Write a text whose names are printable already, and which may have colours."""
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        known = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            super().write(known, style_func, ending)
        except BrokenPipeError:
            raise
        except self._forgives:
            pass

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except self._forgives:
            pass

    def write_json(self, value: Any) -> None:
        """Write a value as JSON."""
        self.write_safe(json_text(value))


def is_readable(record: logging.LogRecord) -> bool:
    """Let a record of the driver's, which repeats what a server says, command no terminal.

    A filter that keeps every record.
    """
    if record.name.partition(".")[0] == "psycopg":
        record.msg, record.args = printable(record.getMessage()), None
    return True


def json_text(value: Any) -> str:
    """Return a value as JSON, in which whatever is not printable is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(
        char if char == "\n" or char.isprintable() else json.dumps(char)[1:-1] for char in text
    )


class _Format(argparse.Action):
    """``--format``: ``json`` may stand beside another value, which then is the dump's format."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Take in the value."""
        setattr(namespace, "json" if values == "json" else self.dest, values)


def add_format(parser: CommandParser, plain: Sequence[str], text: str) -> None:
    """Add ``--format``, whose first value is the default, and ``--json``, which is short for one.

    ``asks_for_json`` says of the options whether JSON is wanted.
    """
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format", action=_Format, choices=[*plain, "json"], default=plain[0], help=text
    )
    group.add_argument("--json", action="store_true", help="The same as --format json.")


def asks_for_json(options: dict[str, Any]) -> bool:
    """Return whether these options of a command ask for JSON."""
    return bool(options.get("json")) or options.get("format") == "json"


def names_json(argv: Sequence[str]) -> bool:
    """Return whether a command line that cannot be parsed asks for JSON."""
    return any(
        one in ("--json", "--format=json") or (one, other) == ("--format", "json")
        for one, other in pairwise([*argv, ""])
    )
