"""What was found of one sequence, and the report's entry that becomes of it."""

from __future__ import annotations

from typing import NamedTuple

from .advance import Outcome, Postponed
from .message import Failed
from .model import Reading, Sequence
from .report import Entry
from .verdict import Status, Verdict

UNTIL_COMMIT = "this transaction has rewritten the sequence, and a rollback takes the move back too"


class Finding(NamedTuple):
    """A sequence, what was read of it, what that means, and the models whose tables it numbers."""

    sequence: Sequence
    reading: Reading
    verdict: Verdict
    models: tuple[str, ...]

    def entry(self, outcome: Outcome | None, read_only: str | None = None) -> Entry:
        """Return the entry after a repair; ``outcome`` is the next number, None without a move."""
        status, after, reason = self.verdict.status, self.verdict.next, self.verdict.reason
        if isinstance(outcome, Failed):
            status, reason = Status.FAILED, outcome.message
        elif isinstance(outcome, Postponed):
            reason = "; ".join(filter(None, [reason, outcome.reason]))
        elif outcome is not None:
            after = outcome
            if self.verdict.rewinds:
                status, reason = Status.REWOUND, None
            elif self.verdict.is_partial:
                reason = f"moved past the other rows; {reason}"
            elif status is Status.BEHIND:
                status = Status.ADVANCED
            else:
                reason = f"moved past what could be seen; {reason}"
        elif self.verdict.target is not None and read_only:
            reason = "; ".join(filter(None, [reason, read_only]))
        if self.sequence.is_rewritten and isinstance(outcome, int):
            reason = "; ".join(filter(None, [reason, UNTIL_COMMIT]))
        changed = isinstance(outcome, int)
        return Entry.of(
            self.sequence, self.verdict, status, after, reason, self.models, changed=changed
        )

    def planned(self) -> Entry:
        """Return the entry of a plan."""
        verdict, reason = self.verdict, self.verdict.reason
        if verdict.rewinds:
            reason = f"{reason}: would be rewound to {verdict.target}"
        after = verdict.next if verdict.target is None else verdict.target
        return Entry.of(self.sequence, verdict, verdict.status, after, reason, self.models)
