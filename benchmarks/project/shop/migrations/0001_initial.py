"""One table for each model."""

from typing import ClassVar

from django.db import migrations, models

from benchmarks.project.settings import MODELS


class Migration(migrations.Migration):
    """Creates them all."""

    initial = True
    operations: ClassVar = [
        migrations.CreateModel(
            name=f"Item{number}",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("amount", models.IntegerField(default=0)),
                ("created", models.DateTimeField(auto_now_add=True)),
            ],
        )
        for number in range(MODELS)
    ]
