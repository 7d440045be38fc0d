"""The project's manage.py; run as ``python -m benchmarks.project.manage``."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.project.settings")
    execute_from_command_line(sys.argv)
