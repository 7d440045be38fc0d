"""The results as Markdown: what was aimed at, then every ratio; no time is promised anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from benchmarks import hooks, restores, sequences
from benchmarks.competition import Contest, Fact, Ratio, Result

TARGETS = [*sequences.TARGETS, *hooks.TARGETS, *restores.TARGETS]
BASES = {"sequences": sequences.OURS, "hooks": hooks.WITHOUT, "restores": restores.OURS}
"""What the others are compared to, by subject."""
TITLES = {
    "sequences": "Sequences: how many times as long as `reset_sequences()` the others take",
    "hooks": "Hooks: how many times as long it takes with the app as without",
    "restores": "Restores: how many times as long as `restoredb` the others take",
}


def shown(ratio: Ratio) -> str:
    """Return median, minimum and maximum as they stand in a table."""
    return f"{_number(ratio.median)} ({_number(ratio.minimum)} to {_number(ratio.maximum)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def aims(contests: Sequence[Contest], facts: Sequence[Fact]) -> str:
    """Return the table of what was aimed at: reached or missed, and why."""
    rows = [["times as long", "aim", "median (minimum to maximum)", ""], ["---"] * 4]
    for target in TARGETS:
        measured = target.measured(contests)
        if measured is not None:
            ratio, is_reached = measured
            verdict = "reached" if is_reached else f"missed: {target.why}".rstrip(": ")
            rows.append([target.what, target.aim, shown(ratio), verdict])
    cost = sequences.cost_per_table(contests)
    if cost is not None:
        bare = sequences.cost_per_table(contests, sequences.FLOOR) or 1.0
        why = f"it costs the bare reads {_number(bare)} times as much, too: {sequences.TOO_MANY}"
        verdict = "reached" if cost <= 1.2 else f"missed: {why}"
        what = "cost of a table among 10,000, to one among 1,000"
        rows.append([what, "at most 1.2", _number(cost), verdict])
    for fact in facts:
        verdict = {None: "", True: "reached"}.get(fact.reached, f"missed: {fact.why}".rstrip(": "))
        rows.append([fact.what, fact.aim, fact.shown, verdict])
    return _table(rows)


def excerpt(contests: Sequence[Contest], facts: Sequence[Fact], about: dict[str, Any]) -> str:
    """Return what docs/benchmarks.md shows: the aims, who died, and on what."""
    died: dict[str, set[str]] = {}
    for contest in contests:
        for result in contest.results:
            if result.died:
                died.setdefault(f"{result.name}: `{result.died}`", set()).add(
                    _circumstances(contest)
                )
    deaths = [f"- {who} ({'; '.join(sorted(where))})" for who, where in died.items()]
    parts = [aims(contests, facts)]
    if some := [contest for contest in contests if contest.subject == "restores"]:
        parts += [f"{TITLES['restores']}:", _ratios("restores", some)]
    if deaths:
        parts.append("Some of the others died:\n\n" + "\n".join(deaths))
    parts.append(_about(about))
    parts.append("Every ratio, and the command lines: `benchmarks/RESULTS.md`.")
    return "\n\n".join(parts)


def _circumstances(contest: Contest) -> str:
    return ", ".join(
        value if isinstance(value, str) else f"{value:,} {name}"
        for name, value in contest.circumstances.items()
    )


def everything(contests: Sequence[Contest], facts: Sequence[Fact], about: dict[str, Any]) -> str:
    """Return all ratios of all contests, the deaths and the command lines."""
    parts = ["# What `scripts/bench.sh` measured", _about(about), "## Aims", aims(contests, facts)]
    for subject, group in groupby(contests, key=lambda contest: contest.subject):
        some = list(group)
        parts += [f"## {TITLES[subject]}", _ratios(subject, some), *_deaths(some), _commands(some)]
    return "\n\n".join(parts) + "\n"


def _about(about: dict[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in about.items())


def _ratios(subject: str, contests: list[Contest]) -> str:
    names = list(dict.fromkeys(result.name for c in contests for result in c.results))
    names.remove(BASES[subject])
    keys = [key for key in contests[0].circumstances if key != "models"]
    rows = [[*keys, "rounds", *names], ["---"] * (len(keys) + 1 + len(names))]
    for contest in contests:
        results = {result.name: result for result in contest.results}
        rounds = len(results[BASES[subject]].seconds)
        cells = [_cell(contest, results.get(name), BASES[subject]) for name in names]
        about = [_value(contest.circumstances[key]) for key in keys]
        rows.append([*about, str(rounds), *cells])
    return _table(rows)


def _value(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cell(contest: Contest, result: Result | None, base: str) -> str:
    if result is None:
        return ""
    if result.died:
        return "**died**"
    ratio = contest.ratio(result.name, base)
    return "" if ratio is None else shown(ratio)


def _deaths(contests: list[Contest]) -> Iterator[str]:
    deaths = {(r.name, r.died) for contest in contests for r in contest.results if r.died}
    if deaths:
        yield "Who died said:\n\n" + "\n".join(
            f"- {name}: `{died}`" for name, died in sorted(deaths)
        )


def _commands(contests: list[Contest]) -> str:
    commands = {result.name: result.command for c in contests for result in c.results}
    lines = "\n".join(f"- {name}: `{command}`" for name, command in commands.items())
    return f"Run as:\n\n{lines}"


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
