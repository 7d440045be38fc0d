"""A backup in a storage: dumped and read back on this machine, then sent there whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from .backup import Written, dumped, written
from .dump.copies import private_folder, require_room
from .dump.facts import Format
from .errors import StorageError, UsageError
from .interrupts import interruptible
from .progress import Progress, Reporter
from .server.address import Address
from .storage.names import beyond, name_for, stem_for
from .storage.store import PREFIX, Store, is_folder, joined, opened_store
from .storage.upload import upload


def back_up_to_storage(
    to: str,
    *,
    storage: str | None = None,
    using: str = "default",
    form: Format = "custom",
    compress: str | None = None,
    keep: int | None = None,
    spool_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> Written:
    """Dump the database of an alias into a storage, under a name that nothing has.

    ``to`` is a name there, or a folder ("" or "FOLDER/") in which it gets a name of its own (see
    ``storage.names``). ``keep``: after a success the oldest dumps of this database in the folder,
    beyond so many, are deleted: those with names of that kind, and no other file.

    Raises RestoreError (UsageError for what cannot be asked for) when no dump was written.
    """
    told = reporter or Reporter()
    began = time.monotonic()
    address = Address.of(using)
    stem = stem_for(address) if is_folder(to) else ""
    name = joined(to, name_for(stem, form, compress, datetime.now(timezone.utc))) if stem else to
    there = Path(PREFIX + name)
    with interruptible():
        with opened_store(storage) as store:
            if store.exists(name):
                raise UsageError(f"{there} is there already: choose another name.")
        with private_folder(spool_dir) as private:
            path = private / "dump"
            room = partial(require_room, private, 0)
            found = dumped(address, path, there, form=form, compress=compress, told=told, tick=room)
            # Another one: the connection would have been idle for as long as the dump took.
            with opened_store(storage) as store:
                _send(store, path, name, told)
                deleted = _delete_beyond(store, to, stem, keep, told) if keep else ()
    return replace(written(found, there, began), deleted=deleted)


def _send(store: Store, path: Path, name: str, told: Reporter) -> None:
    told.step(f"sending it to {PREFIX}{name}")
    progress = Progress(bytes_total=path.stat().st_size)

    def watch(count: int) -> None:
        progress.bytes = count
        told.progress(progress)

    upload(store, path, name, watch)


def _delete_beyond(
    store: Store, folder: str, stem: str, keep: int, told: Reporter
) -> Sequence[str]:
    """Delete the oldest of this database's dumps; return their names. A failure is a note."""
    deleted = []
    try:
        for name in beyond(store.listed(folder)[1], stem, keep):
            store.delete(joined(folder, name))
            deleted.append(joined(folder, name))
    except StorageError as error:
        told.note(f"an older dump could not be deleted: {error}")
    return deleted
