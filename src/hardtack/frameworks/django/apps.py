"""The application for INSTALLED_APPS, which brings hardtack's system checks: `manage.py check` finds what is set wrong."""

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.core.checks import Tags, register  # type: ignore[import-untyped]

from hardtack.frameworks.django.checks import check_settings


class HardtackConfig(AppConfig):  # type: ignore[misc]  # Django is not typed
    """`INSTALLED_APPS = [..., "hardtack.frameworks.django"]`."""

    name = "hardtack.frameworks.django"
    label = "hardtack"
    verbose_name = "hardtack sessions"

    def ready(self) -> None:
        """Let `manage.py check`, `runserver` and `migrate` look at the settings."""
        register(check_settings, Tags.security)
