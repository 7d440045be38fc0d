"""Settings of the tests that run inside pytest's own process, and of the type checker.

They name no server: the fixtures of ``conftest.py`` put a real database in.
"""

SECRET_KEY = "tests"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "restorehooks",
]
DATABASES: dict[str, dict[str, object]] = {
    "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "no_database_fixture_used"}
}
TIME_ZONE = "UTC"  # Django puts it into the environment, where child processes find it
