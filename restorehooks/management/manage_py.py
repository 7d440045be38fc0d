"""Runs restoredb through a project's manage.py, for restore.sh.

    python -m restorehooks.management.manage_py manage.py [OPTIONS OF RESTOREDB]

What Django says of a command that no app has tells nobody what to do. To ask for the commands
beforehand starts Django a second time, which takes as long as the restore of a small dump.
"""

from __future__ import annotations

import runpy
import sys
from contextlib import suppress
from pathlib import Path

from restorehooks.exit_codes import WRONG_USAGE

NO_APP = 'restore.sh: "restorehooks" is not in INSTALLED_APPS of the project of {}: add it there.\n'


def main() -> None:
    """Run the project's file as Python itself would run it."""
    manage, *arguments = sys.argv[1:]
    sys.argv[:] = [manage, "restoredb", *arguments]
    sys.path.insert(0, str(Path(manage).absolute().parent))
    try:
        runpy.run_path(manage, run_name="__main__")
    except SystemExit as end:
        if end.code == 1 and _lacks_the_app():
            sys.stderr.write(NO_APP.format(manage))
            raise SystemExit(WRONG_USAGE) from None
        raise


def _lacks_the_app() -> bool:
    from django.apps import apps
    from django.conf import settings

    # Of settings that cannot be read Django has said what is wrong.
    with suppress(Exception):
        return settings.configured and apps.ready and not apps.is_installed("restorehooks")
    return False


if __name__ == "__main__":
    main()
