"""``Item0`` to ``ItemN``: as many models as the settings say."""

from django.db import models

from benchmarks.project.settings import MODELS


class Item(models.Model):
    """What a row of each model holds."""

    name = models.CharField(max_length=100)
    amount = models.IntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:  # noqa: D106
        abstract = True

    def __str__(self) -> str:
        return self.name


ITEMS: list[type[Item]] = [
    type(f"Item{number}", (Item,), {"__module__": __name__}) for number in range(MODELS)
]
