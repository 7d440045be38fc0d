"""Asking the person at the terminal before something is replaced or dropped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from restorehooks.restore.errors import NobodyToAskError
from restorehooks.wording import printable_lines


def asking(*, interactive: bool) -> Callable[[str], bool]:
    """Return a function that asks a question and says whether the answer is yes.

    Without ``interactive`` nobody is asked, and the answer is always yes. The function raises
    NobodyToAskError where there is no terminal.
    """

    def ask(question: str) -> bool:
        if not interactive:
            return True
        # Standard input may be the dump: the terminal itself is asked.
        with suppress(OSError), open("/dev/tty") as typed, open("/dev/tty", "w") as shown:
            shown.write(f"{printable_lines(question)}\nContinue? [y/N] ")
            shown.flush()
            return typed.readline().strip().lower() in ("y", "yes")
        raise NobodyToAskError(question)

    return ask
