"""Wiring only: connects receivers, registers checks."""

from django.apps import AppConfig
from django.core.checks import register
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate


class RestoreHooksConfig(AppConfig):
    """The app to add to INSTALLED_APPS, anywhere in the list."""

    name = "restorehooks"
    verbose_name = "Restore hooks"

    def ready(self) -> None:
        """Connect the receivers and register the checks."""
        from . import checks, receivers

        register(checks.setting_is_right)
        register(checks.loaddata_is_ours)
        register(checks.loaddata_hides_none)
        pre_migrate.connect(receivers.before_migrate, dispatch_uid="restorehooks.before_migrate")
        connection_created.connect(
            receivers.all_apps_ready, dispatch_uid="restorehooks.all_apps_ready"
        )
        receivers.come_last()
