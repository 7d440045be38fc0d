"""How the site is built: ``scripts/docs.sh``, with every warning an error.

Sphinx with MyST and Furo, by the state of November 2026: Sphinx is maintained and generates the
reference from the code; Material for MkDocs has reached the end of its support, and Zensical, which
is to follow it, has no stable release and no plugin interface yet.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from restorehooks import __version__ as release  # noqa: E402 - its folder is named above

project = "restorehooks"
author = copyright = "The restorehooks developers"  # noqa: A001 - Sphinx's name
extensions = ["myst_parser", "sphinx.ext.autodoc", "reference"]
html_theme = "furo"
html_title = f"restorehooks {release}"
exclude_patterns = ["_build", "conf.py", "reference.py"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
nitpicky = False
