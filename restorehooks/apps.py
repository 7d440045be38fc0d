"""Wiring only: connects receivers, registers checks."""

from django.apps import AppConfig, apps
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate
from django.utils.translation import gettext_lazy as _

from . import driver


class RestoreHooksConfig(AppConfig):
    """The app to add to INSTALLED_APPS, anywhere in the list."""

    name = "restorehooks"
    verbose_name = _("Sequences")

    def import_models(self) -> None:
        """Leave our one model out where there is no admin: its permissions are for the page there.

        Otherwise every ``migrate`` and every flush of a test would create them for nothing.
        """
        if apps.is_installed("django.contrib.admin") and not driver.why_not_at_all():
            super().import_models()
        else:
            self.models = apps.all_models[self.label]

    def ready(self) -> None:
        """Connect the receivers and register the checks."""
        from . import checks

        register(checks.requirements_are_met)
        if driver.why_not_at_all():
            return
        from . import receivers
        from .duplicates import watch

        register(checks.setting_is_right)
        register(checks.loaddata_is_ours)
        register(checks.loaddata_hides_none)
        register(checks.sequences_are_ahead, Tags.database, deploy=True)
        register(checks.sequences_have_room, Tags.database, deploy=True)
        register(checks.entries_name_something, Tags.database, deploy=True)
        pre_migrate.connect(receivers.before_migrate, dispatch_uid="restorehooks.before_migrate")
        connection_created.connect(
            receivers.all_apps_ready, dispatch_uid="restorehooks.all_apps_ready"
        )
        receivers.come_last()
        connection_created.connect(watch.watch, dispatch_uid="restorehooks.explain")
        watch.watch_open_connections()
