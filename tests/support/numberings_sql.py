"""The SQL that makes what ``numberings`` thought of."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.numberings import IDENTITY, Numbering, Table, qualified

BY_LIST = ("list", "attached")
"""The shapes with partitions by another column than that of the numbers."""


def created(numbering: Numbering, owner: str, stranger: str, repairer: str) -> Iterator[str]:
    """Yield the statements that make a sequence and its tables, rows and privileges included."""
    owning = [table for table in numbering.tables if table.owns]
    identity = next((t for t in owning if t.how in IDENTITY), None)
    if identity is None:
        yield f"CREATE SEQUENCE {numbering.quoted} AS {numbering.type} {_options(numbering)}"
    for table in sorted(numbering.tables, key=lambda t: t is not identity):
        yield from _table_created(numbering, table)
        role = stranger if table.is_strange else owner
        for member in table.members():
            yield f"ALTER TABLE {member} OWNER TO {role}"
            if table.is_readable:
                yield f"GRANT SELECT ON {member} TO PUBLIC"
        if table.is_filtered:
            yield f"ALTER TABLE {table.quoted} ENABLE ROW LEVEL SECURITY"
    if identity is None:
        yield f"ALTER SEQUENCE {numbering.quoted} OWNER TO {owner}"
    for table in owning:
        if table is not identity:
            member = table.members()[1 if table.shape == "attached" else 0]
            yield f"ALTER SEQUENCE {numbering.quoted} OWNED BY {member}.{table.quoted_column}"
    for privilege in numbering.granted:
        yield f"GRANT {privilege} ON SEQUENCE {numbering.quoted} TO {repairer}"
    if numbering.is_open:
        yield f"GRANT USAGE ON SEQUENCE {numbering.quoted} TO {stranger}"
    called = str(numbering.is_called).lower()
    yield f"SELECT setval({numbering.literal}, {numbering.last_value}, {called})"


def _options(numbering: Numbering) -> str:
    start = numbering.minimum if numbering.increment > 0 else numbering.maximum
    return (
        f"INCREMENT {numbering.increment} MINVALUE {numbering.minimum}"
        f" MAXVALUE {numbering.maximum} START {start} CACHE {numbering.cache}"
        f" {'' if numbering.cycle else 'NO '}CYCLE"
    )


def _table_created(numbering: Numbering, table: Table) -> Iterator[str]:
    column, name = table.quoted_column, table.quoted
    type_, makes = table.type, _default(numbering, table)
    if table.how == "domain":
        type_, makes = qualified(f"d{table.name}"), ""
        yield f"CREATE DOMAIN {type_} AS {table.type} {_default(numbering, table)}"
    partitions = {"ranges": f"PARTITION BY RANGE ({column})"}
    partitions |= dict.fromkeys(BY_LIST, "PARTITION BY LIST (k)")
    definition = f"({column} {type_} {makes}, k int DEFAULT 1)"
    yield f"CREATE TABLE {name} {definition} {partitions.get(table.shape, '')}"
    _, *parts = table.members()
    if table.shape in BY_LIST:
        yield f"CREATE TABLE {parts[0]} (LIKE {name})"
        yield f"ALTER TABLE {name} ATTACH PARTITION {parts[0]} FOR VALUES IN (1, NULL)"
        yield f"CREATE TABLE {parts[1]} PARTITION OF {name} FOR VALUES IN (2)"
    if table.shape == "ranges":
        yield f"CREATE TABLE {parts[0]} PARTITION OF {name} FOR VALUES FROM (-5) TO (15)"
        yield f"CREATE TABLE {parts[1]} PARTITION OF {name} DEFAULT"
    if table.shape == "child":
        yield f"CREATE TABLE {parts[0]} () INHERITS ({name})"
    yield from _indexed(table, [name, *parts] if table.shape == "child" else [name])
    if table.how == "trigger":
        yield from _trigger(numbering, table)
    yield from _rows(table)


def _default(numbering: Numbering, table: Table) -> str:
    if table.how in IDENTITY:
        options = f"SEQUENCE NAME {numbering.quoted} {_options(numbering)}"
        return f"GENERATED {IDENTITY[table.how]} AS IDENTITY ({options})"
    draws = f"DEFAULT nextval({numbering.literal})"
    return {
        "serial": draws,
        "default": draws,
        "domain": draws,
        "text": f"DEFAULT nextval({numbering.literal}::text::regclass)",
        "constant": "DEFAULT 0",
        "product": f"{draws} * 3",
    }.get(table.how, "")


def _indexed(table: Table, members: list[str]) -> Iterator[str]:
    columns = f"{table.quoted_column}, k" if table.shape in BY_LIST else table.quoted_column
    for member in members:
        if table.index == "primary":
            yield f"ALTER TABLE {member} ADD PRIMARY KEY ({columns})"
        elif table.index == "key":
            yield f"CREATE UNIQUE INDEX ON {member} ({columns})"
        elif table.index == "index":
            yield f"CREATE INDEX ON {member} ({columns})"


def _trigger(numbering: Numbering, table: Table) -> Iterator[str]:
    function = qualified(f"f{table.name}")
    column = table.quoted_column
    yield (
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
        f" NEW.{column} := coalesce(NEW.{column}, nextval({numbering.literal}));"
        " RETURN NEW; END $f$"
    )
    members = table.members()
    for member in members if table.shape == "child" else members[:1]:
        yield (
            f"CREATE TRIGGER assign BEFORE INSERT ON {member}"
            f" FOR EACH ROW EXECUTE FUNCTION {function}()"
        )


def _rows(table: Table) -> Iterator[str]:
    target = f"{table.quoted_column}, k) OVERRIDING SYSTEM VALUE VALUES"
    odd = ["'NaN'", "'Infinity'", "'-Infinity'"] if table.has_odd_rows else []
    for index, value in enumerate([*map(str, table.values), *odd]):
        member = table.members()[index % 2 if table.shape == "child" else 0]
        yield f"INSERT INTO {member} ({target} ({value}, {1 + index % 2})"
