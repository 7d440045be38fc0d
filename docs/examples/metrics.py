"""A counter for Prometheus: sequences that had to be moved past their rows."""

from django.dispatch import receiver
from prometheus_client import Counter

from restorehooks.signals import sequences_repaired

MOVED = Counter(
    "restorehooks_sequences_moved",
    "Sequences that were behind their rows and have been moved",
    ["database", "trigger"],
)


@receiver(sequences_repaired, dispatch_uid="metrics")
def count(using, report, trigger, **kwargs):
    MOVED.labels(database=using, trigger=trigger).inc(len(report.changed))
