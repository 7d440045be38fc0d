#!/bin/sh
# For the findings to source after server.sh: a Django project with one app, shop, in $folder.
#
# Reads $models (Python, after `from django.db import models`) and $apps (more installed apps).
: "${folder:?}" "${python:?}" "${models?}"

mkdir -p "$folder/shop/migrations"
: >"$folder/shop/__init__.py"
: >"$folder/shop/migrations/__init__.py"
printf 'from django.db import models\n%s\n' "$models" >"$folder/shop/models.py"
cat >"$folder/settings.py" <<SETTINGS
SECRET_KEY = "a finding"
INSTALLED_APPS = ["shop", ${apps:-}]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "$PGHOST",
        "USER": "postgres",
        "NAME": "postgres",
    }
}
SETTINGS
export DJANGO_SETTINGS_MODULE=settings PYTHONPATH="$folder"

manage() {
    "$python" -m django "$@"
}

manage makemigrations --verbosity=0 shop
manage migrate --verbosity=0
