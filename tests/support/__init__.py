"""What tests are made of: servers, databases, projects, dumps, and questions about sequences."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
"""The folder of the source."""
