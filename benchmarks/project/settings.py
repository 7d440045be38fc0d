"""Settings from the environment: DATABASE_URL, and whatever begins with BENCH."""

import os

import environ

SECRET_KEY = "benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MODELS = int(os.environ.get("BENCH_MODELS", "60"))
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "benchmarks.project.shop",
    "restorehooks",
]
if "BENCH_WITHOUT" in os.environ:
    INSTALLED_APPS.remove("restorehooks")
if "BENCH_ADMIN" in os.environ:
    INSTALLED_APPS += ["django.contrib.admin", "django.contrib.messages"]
    SILENCED_SYSTEM_CHECKS = [f"admin.E{number}" for number in (403, 408, 409, 410)]
if os.environ.get("BENCH_APP"):
    INSTALLED_APPS.append(os.environ["BENCH_APP"])
DATABASES = {"default": environ.Env().db("DATABASE_URL")}
PGCLONE_STORAGE_LOCATION = os.environ.get("BENCH_STORAGE", "")
PGCLONE_PRE_SWAP_HOOKS: list[str] = []
DBBACKUP_CONNECTORS = {"default": {"CONNECTOR": "dbbackup.db.postgresql.PgDumpBinaryConnector"}}
