"""The README and the pages of the docs, and the commands that they show."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SHOWN = "\n".join(page.read_text() for page in PAGES)


def transcripts(where: str) -> Iterator[tuple[str, str]]:
    """Yield each command of the blocks marked with ``where``, and the output shown for it."""
    for block in re.findall(rf"<!-- run: {where} -->\n```console\n(.*?)```", SHOWN, re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            yield command, output
