"""A row of the catalogue's query: its names are those of the columns that the query returns."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A row of the query: a sequence, and a column that it may number or None throughout.

    ``is_owner``: the sequence is owned by the column. ``draws``: its default is exactly ``nextval``
    of the sequence; ``draws_more``: it calls that and does more. ``draws_from`` is another sequence
    that it draws from. ``has_trigger``: one before each row that is inserted. ``calls`` is a
    function of somebody else's that reading the table would call; ``of_stranger``: another role,
    who is no superuser, owns the table, a part of it or its schema; ``sequence_of_stranger``: or
    the sequence, or its schema. ``of_sequences_owner``: table and sequence have the same owner.
    ``barred`` is a column that draws from a sequence which numbers
    nothing else, and the quoted role whose rights do not let it count.
    """

    oid: int
    schema: str
    name: str
    quoted: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool
    may_read: bool
    may_draw: bool
    may_set: bool
    may_alter: bool
    owner: str
    is_rewritten: bool
    sequence_of_stranger: bool
    barred: list[str] | None
    table_oid: int | None
    table_schema: str
    table_name: str
    column_name: str
    quoted_table: str
    quoted_column: str
    column_type: str
    typmod: int
    indexed: bool
    plain: bool
    nullable: bool
    may_be_empty: bool
    sized: bool
    visible: bool
    locks: int
    is_owner: bool
    is_identity: bool
    is_listed: bool
    draws: bool
    draws_more: bool
    draws_from: str | None
    attrdef: int | None
    has_default: bool
    has_trigger: bool
    is_view: bool
    is_foreign: bool
    may_read_rows: bool
    is_filtered: bool
    calls: str | None
    of_stranger: bool
    of_sequences_owner: bool
