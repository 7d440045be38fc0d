"""Nodes that number the same rows: a writer on each, while every command runs on each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connections

from restorehooks.sequences import repair

ROUNDS = 2
INSERT = "INSERT INTO auth_group (name) VALUES (%s) RETURNING id"
COPY = "INSERT INTO auth_group (id, name) VALUES (%s, %s)"


@dataclass
class Node:
    """A node as Django's alias; ``owns`` says whether a number is one of its own to give."""

    alias: str
    connect: Callable[[], psycopg.Connection[Any]]
    owns: Callable[[int], bool]
    given: list[int] = field(default_factory=list)


def shake(nodes: list[Node], folder: Path, *, exchange: bool = True) -> None:
    """Run every command on every node, beside a writer on each; all numbers are the node's own.

    With ``exchange`` each row comes to the other nodes too, with the number it has.
    """
    over, problems = threading.Event(), list[BaseException]()

    def write(node: Node) -> None:
        try:
            with ExitStack() as stack:
                here = stack.enter_context(node.connect())
                others = [stack.enter_context(n.connect()) for n in nodes if n is not node]
                while not over.is_set():
                    name = f"{node.alias} {len(node.given)}"
                    ((number,),) = here.execute(INSERT, [name]).fetchall()
                    for other in others if exchange else ():
                        other.execute(COPY, [number, name])
                    node.given.append(number)
        except BaseException as problem:
            problems.append(problem)

    writers = [threading.Thread(target=write, args=[node]) for node in nodes]
    for writer in writers:
        writer.start()
    try:
        while not problems and not all(node.given for node in nodes):
            time.sleep(0.01)
        for node in nodes * ROUNDS if not problems else ():
            run_everything(node, nodes if exchange else [node], folder)
    finally:
        over.set()
        for writer in writers:
            writer.join()
    assert problems == []
    for node in nodes:
        assert len(node.given) > ROUNDS
        assert all(map(node.owns, node.given))
        repair.reset(node.alias)
        with node.connect() as connection:
            ((number,),) = connection.execute(INSERT, [f"{node.alias} last"]).fetchall()
        assert node.owns(number)
        assert number not in node.given
    connections.close_all()


def run_everything(node: Node, nodes: list[Node], folder: Path) -> None:
    """Run a repair, a migrate, and a loaddata of rows that all nodes have made.

    The model's own field ends at 2^31, and Django finds no row past that.
    """
    repair.reset(node.alias)
    call_command("migrate", database=node.alias, verbosity=0)
    fixture = folder / "groups.json"
    known = [n for each in nodes if (n := each.given[-1]) < 1 << 31] or [1]
    rows = [{"model": "auth.group", "pk": n, "fields": {"name": f"again {n}"}} for n in known]
    fixture.write_text(json.dumps(rows))
    call_command("loaddata", str(fixture), database=node.alias, verbosity=0)


def assert_only_drawn(node: Node) -> None:
    """Nothing but the writer has moved the node's sequence."""
    first = node.given[0]
    assert node.given == list(range(first, first + len(node.given)))
