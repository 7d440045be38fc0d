"""What ``resetsequences`` takes on the command line, and what that means."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from restorehooks import conf
from restorehooks.exit_codes import WRONG_USAGE
from restorehooks.management.base import postgresql_aliases
from restorehooks.management.output import add_format, asks_for_json
from restorehooks.sequences.scope import Limits, Scope, models_for


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    ``mode`` is "reset", or one of "check", "dry-run" and "sql", which change nothing.
    ``styled`` says whether a table has colours, None where the output decides. ``source`` is the
    alias or URL of the database whose positions are to be taken along. ``every_node``: the other
    nodes of a Citus cluster, too.
    """

    aliases: list[str]
    scope: Scope
    limits: Limits
    mode: str
    headroom: int
    rewind: bool
    as_json: bool
    verbosity: int
    styled: bool | None
    source: str | None = None
    every_node: bool = False

    @classmethod
    def parsed(cls, options: dict[str, Any]) -> Request:
        """Return the request; raises ``CommandError`` for what cannot be meant."""
        _refuse_contradictions(options)
        aliases = postgresql_aliases(options["database"], every=options["all_databases"])
        for_one = {
            "sql": "--sql prints what one database is to run",
            "source": "--from is the source of one database",
        }
        for option, why in for_one.items():
            if options[option] and len(aliases) > 1:
                raise wrong_usage(f"{why}: name one of {', '.join(aliases)} with --database.")
        modes = {"check": "check", "dry_run": "dry-run", "sql": "sql"}
        try:
            models = models_for(options["labels"]) if options["labels"] else None
            limits = conf.limits()
            if options["by_name"]:
                limits = replace(limits, names="repaired")
            if options["connections"]:
                limits = replace(limits, connections=options["connections"])
        except (LookupError, ImproperlyConfigured) as error:
            raise wrong_usage(error.args[0]) from None
        return cls(
            aliases=aliases,
            scope=Scope(models, options["schema"]),
            limits=limits,
            mode=next((mode for name, mode in modes.items() if options[name]), "reset"),
            headroom=options["headroom"],
            rewind=options["rewind"],
            as_json=asks_for_json(options),
            verbosity=options["verbosity"],
            styled=True if options["force_color"] else False if options["no_color"] else None,
            source=options["source"],
            every_node=options["every_node"],
        )


def wrong_usage(sentence: str) -> CommandError:
    """Return the error for a command line that cannot be meant."""
    return CommandError(sentence, returncode=WRONG_USAGE)


def _refuse_contradictions(options: dict[str, Any]) -> None:
    """Raise ``CommandError`` for options that exclude each other."""
    if options["all_databases"] and options["database"]:
        raise wrong_usage("Give --database or --all-databases, not both.")
    if options["sql"] and asks_for_json(options):
        raise wrong_usage("Give --sql or --format json, not both.")
    if options["every_node"] and (options["sql"] or options["source"]):
        other = "--sql" if options["sql"] else "--from"
        raise wrong_usage(f"Give --every-node or {other}, not both: {other} is for one node.")
    if options["source"] and options["rewind"]:
        raise wrong_usage("Give --from or --rewind, not both: --from never moves one back.")


def add_options(parser: CommandParser) -> None:
    """Declare the options."""
    _add_scope(parser)
    _add_mode(parser)
    _add_how(parser)
    parser.add_argument_group("how fast").add_argument(
        "--connections",
        type=_at_least(1),
        metavar="N",
        help="Use up to N connections where there are many tables, and the server has more free."
        " The default is CONNECTIONS of the RESTOREHOOKS setting, 2.",
    )
    add_format(parser, ["table"], "Report as a table (the default), or as JSON on standard output.")


def _add_scope(parser: CommandParser) -> None:
    parser.add_argument(
        "labels",
        nargs="*",
        metavar="app_label[.Model]",
        help="Look only at the sequences of these models' tables.",
    )
    add = parser.add_argument_group("which sequences").add_argument
    add(
        "--database",
        action="append",
        default=[],
        metavar="ALIAS",
        help='Alias of the database. The default is "default". Can be given several times.',
    )
    add(
        "--all-databases",
        action="store_true",
        help="Look at all databases of DATABASES that are on PostgreSQL.",
    )
    add(
        "--every-node",
        action="store_true",
        help="Look at the other nodes of the Citus cluster, too, with the same user and password.",
    )
    add(
        "--schema",
        action="append",
        metavar="NAME",
        help="Look only at sequences in this schema, and at those that number a table there. A"
        " pattern such as 'tenant_*' means all that it fits. Can be given several times.",
    )


def _add_mode(parser: CommandParser) -> None:
    group = parser.add_argument_group("only looking, and changing nothing")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument(
        "--check",
        action="store_true",
        help="Exit with 1 if a sequence is behind or exhausted.",
    )
    mode.add_argument("--dry-run", action="store_true", help="Show what would be done.")
    mode.add_argument("--sql", action="store_true", help="Print the SQL that would do it.")


def _add_how(parser: CommandParser) -> None:
    add = parser.add_argument_group("how far they are moved").add_argument
    add(
        "--rewind",
        action="store_true",
        help="Also lower sequences that are ahead, and restart those of empty tables. Their"
        " numbers may have been handed out before.",
    )
    add(
        "--headroom",
        type=_at_least(0),
        default=0,
        metavar="N",
        help="Stay N increments clear of the rows.",
    )
    add(
        "--from",
        dest="source",
        metavar="SOURCE",
        help="Also move each sequence past the next number of its partner in another database: an"
        " alias, a URL without a password, or env:NAME for a variable that holds a URL. The source"
        " is only read.",
    )
    add(
        "--by-name",
        action="store_true",
        help="Also move sequences that only their names (TABLE_COLUMN_seq, TABLE_seq) lead to a"
        " key without a default.",
    )


def _at_least(least: int) -> Callable[[str], int]:
    def parsed(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parsed
