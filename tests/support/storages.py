"""Storages to test with: a folder, a real SFTP server, and one that can do less than both."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.files.storage import Storage

from tests.support.sftp import SSHD

WHY_NO_SFTP = (
    "django-storages[sftp] is not installed"
    if not (find_spec("storages") and find_spec("paramiko"))
    else ""
    if SSHD
    else "there is no sshd: apt-get install openssh-server"
)


@dataclass
class Place:
    """A storage: how STORAGES has it, and where its files are on this machine."""

    configured: dict[str, Any]
    root: Path

    def put(self, path: Path, name: str, minutes_ago: int = 0) -> None:
        """Put a file or folder there, written so many minutes ago."""
        to = self.root / name
        to.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, to)
        moment = path.stat().st_mtime - 60 * minutes_ago
        for file in [*to.rglob("*"), to]:
            os.utime(file, (moment, moment))
            file.chmod(0o755 if file.is_dir() else 0o644)

    def names(self) -> list[str]:
        """Return the names of all that is there, folders too."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


class Plain(Storage):
    """A storage that can do what Django demands of one, and nothing more."""

    def __init__(self, root: str, cuts: bool = False):
        self.root = Path(root)
        self.cuts = cuts

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        return File((self.root / name).open("rb"))

    def _save(self, name: str, content: File[bytes]) -> str:
        whole = content.read()
        (self.root / name).write_bytes(whole[: len(whole) // 2] if self.cuts else whole)
        return name

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        return (self.root / name).exists()

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        there = sorted((self.root / path).iterdir())
        return [one.name for one in there if one.is_dir()], [
            one.name for one in there if one.is_file()
        ]

    def size(self, name: str) -> int:
        return (self.root / name).stat().st_size

    def get_modified_time(self, name: str) -> datetime:
        return datetime.fromtimestamp((self.root / name).stat().st_mtime, timezone.utc)
