"""The results as a picture: an SVG with a bar for each peer, on a logarithmic scale if need be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from benchmarks import restores, sequences
from benchmarks.competition import Contest, Ratio

SHOWN: list[tuple[str, dict[str, object]]] = [
    ("sequences", {"tables": 1_000, "over": sequences.SOCKET, "sequences": "all healthy"}),
    ("sequences", {"tables": 1_000, "over": sequences.SOCKET, "sequences": "all behind"}),
    ("sequences", {"tables": 10_000, "over": sequences.SOCKET, "sequences": "all healthy"}),
    ("sequences", {"tables": 1_000, "over": sequences.DISTANT, "sequences": "all healthy"}),
    *(("restores", circumstances) for circumstances in restores.SHOWN),
]
SUMMARY = [SHOWN[0], *SHOWN[4:]]
"""What the README shows."""
ON_ONE_SCALE = 10
"""Ratio up to which bars begin at 0; beside a longer one the others would have no length."""
BASES = {"sequences": sequences.OURS, "restores": restores.OURS}


def draw(
    contests: Sequence[Contest],
    path: Path,
    shown: Sequence[tuple[str, dict[str, object]]] = SHOWN,
) -> None:
    """Draw how many times as long the peers take as restorehooks, and save it as SVG.

    ``shown``: the subject and the circumstances of each panel, from top to bottom.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "restorehooks", "font.size": 9, "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    panels = []
    for subject, circumstances in shown:
        found = (one for one in contests if one.subject == subject and one.has(circumstances))
        panels += islice(found, 1)
    sizes = [len(contest.results) for contest in panels]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(8, 0.28 * sum(sizes) + 0.8 * len(panels)),
        height_ratios=sizes,
        squeeze=False,
        layout="constrained",
    )
    for axis, contest in zip(axes[:, 0], panels, strict=True):
        _bars(axis, contest)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _bars(axis: object, contest: Contest) -> None:
    base = BASES[contest.subject]
    others = [result for result in contest.results if result.name != base]
    names = [base, *(result.name for result in others)]
    died = Ratio(1, 1, 1)
    ratios = [died, *(contest.ratio(name, base) or died for name in names[1:])]
    labels = [f" {ratio.median:.3g}" for ratio in ratios]
    for number, result in enumerate(others, start=1):
        labels[number] = " died" if result.died else labels[number]
    lengths = [ratio.median for ratio in ratios]
    spread = [
        [ratio.median - ratio.minimum for ratio in ratios],
        [ratio.maximum - ratio.median for ratio in ratios],
    ]
    colours = ["#2a7f62", *("#d64545" if result.died else "#9aa5b1" for result in others)]
    about = [v if isinstance(v, str) else f"{v:,} {k}" for k, v in contest.circumstances.items()]
    drawn = axis.barh(names, lengths, xerr=spread, color=colours, ecolor="#52606d")  # type: ignore[attr-defined]
    axis.bar_label(drawn, labels, padding=2)  # type: ignore[attr-defined]
    scale = "log" if max(lengths) > ON_ONE_SCALE else "linear"
    axis.set(xscale=scale, title=", ".join(about), xlabel="times as long as restorehooks")  # type: ignore[attr-defined]
    axis.invert_yaxis()  # type: ignore[attr-defined]
    axis.margins(x=0.15)  # type: ignore[attr-defined]
    axis.spines[["top", "right"]].set_visible(False)  # type: ignore[attr-defined]
