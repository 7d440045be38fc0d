"""Whose a file is: what is run or read must not be somebody else's to change."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path


def belongs_to_us(status: os.stat_result) -> bool:
    """Say whether a file belongs to this user or to root; always where files have no such owner."""
    return os.name != "posix" or status.st_uid in (0, os.geteuid())


def why_not_opened(path: Path) -> str | None:
    """Return why a file or folder that others may have put there is not opened, None where it is.

    A link of another user may lead to any file, and a pipe lets whoever opens it wait. Raises
    OSError where it cannot be looked at.
    """
    if path.is_symlink() and not belongs_to_us(path.lstat()):
        return "is a link that another user made"
    if not path.exists():
        return "is a link that leads nowhere" if path.is_symlink() else None
    return None if path.is_file() or path.is_dir() else "is a pipe or a device"


ASTRAY = "is a link of another user's, to what they may not read: name the dump itself"
"""What is said of a link that ``link_astray`` returns."""


def link_astray(path: Path) -> Path | None:
    """Return the first link on the way to a file that may lead its maker to what is not theirs.

    That is another user's, who may not read what it leads to, or not enter a folder on the way
    there, those apart that the link itself is in. Raises OSError where the way cannot be looked at.
    """
    places = [*_way_to(path)] if os.name == "posix" else []
    for number, place in _links_of_others(places):
        maker, behind = place.lstat(), {*places[number + 1 :]} - {*place.parents}
        if not (
            _is_same(path, places[-1])
            and all(_may_open(maker.st_uid, each) for each in behind if os.path.lexists(each))
        ):
            return place
    return None


def link_of_another(path: Path) -> Path | None:
    """Return the first link on the way to a place that another user made, None where none is.

    Raises OSError where the way cannot be looked at.
    """
    places = _way_to(path) if os.name == "posix" else ()
    return next((place for _, place in _links_of_others(places)), None)


def _links_of_others(places: Iterable[Path]) -> Iterator[tuple[int, Path]]:
    """Yield the links on a way that another user made, each with its number on it."""
    for number, place in enumerate(places):
        is_systems = place.parent in _SYSTEMS
        if place.is_symlink() and not is_systems and not belongs_to_us(place.lstat()):
            yield number, place


def _is_same(path: Path, place: Path) -> bool:
    """Return whether a way ends there for the system, too: by /proc/PID/root it may not."""
    try:
        return path.samefile(place)
    except OSError:  # one of them is not there
        return os.path.exists(path) == os.path.exists(place)


_SYSTEMS = (Path("/proc"), Path("/dev"))
"""Whose links are the system's, and nobody's in a container where root has no id."""


def _may_open(user: int, place: Path) -> bool:
    """Return whether a user may read a file or enter a folder, as POSIX decides it."""
    status = place.lstat()
    if status.st_uid == user or stat.S_ISLNK(status.st_mode):
        return True
    groups, is_named = _groups_of(user), False
    wanted = stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH
    for tag, may, number in _access_control_list(place):
        may &= status.st_mode >> 3  # where there is a list, that is its mask
        if tag == _USER and number == user:
            return bool(may & wanted)
        gid = {_OWNING_GROUP: status.st_gid, _GROUP: number}.get(tag)
        if gid in groups:
            if may & wanted:
                return True
            is_named = True
    return not is_named and bool(status.st_mode & wanted)


def _groups_of(user: int) -> list[int]:
    import pwd

    with suppress(KeyError):
        found = pwd.getpwuid(user)
        return os.getgrouplist(found.pw_name, found.pw_gid)
    return []


def others_may_lead(path: Path) -> bool:
    """Return whether another user may lead elsewhere what opens a file of the current folder.

    That is where others can change a name there, or one that a link leads through. Raises OSError
    where the way cannot be looked at.
    """
    path = path.absolute()
    return os.name == "posix" and not all(
        _is_kept(place) for place in [*_way_to(path)][len(path.parts) - 1 :]
    )


def _is_kept(place: Path) -> bool:
    """Return whether no other user can put something else in the place of a file or link."""
    folder = place.parent
    status = folder.stat()
    keeps = status.st_mode & stat.S_ISVTX or not who_else_may_write(folder) or is_read_only(folder)
    is_ours = belongs_to_us(place.lstat()) or not place.is_symlink()
    return bool(belongs_to_us(status) and keeps and is_ours)


def who_else_may_write(place: Path | int) -> str | None:
    """Return who but root and this user may write to a file or folder; None for nobody.

    That is every user, a group, or whom its access control list names. A group counts that has
    another member, by name or as that one's own group, or whose members are not known. ``place``
    may be the descriptor of an open file. Raises OSError where it cannot be looked at.
    """
    if os.name != "posix":
        return None
    status = os.stat(place)
    if status.st_mode & stat.S_IWOTH:
        return "every user"
    if not status.st_mode & stat.S_IWGRP:  # where there is a list, that is its mask
        return None
    for tag, may, number in _access_control_list(place):
        if not may & _WRITE:
            continue
        if tag == _USER and number not in (0, os.geteuid()):
            return "a user in its access control list"
        if tag in (_OWNING_GROUP, _GROUP):
            gid = status.st_gid if tag == _OWNING_GROUP else number
            if group := _shared_group(gid):
                return group
    return None


_USER, _OWNING_GROUP, _GROUP, _WRITE, _ALL = 0x02, 0x04, 0x08, 0x02, 0x07


def _access_control_list(place: Path | int) -> list[tuple[int, int, int]]:
    """Return what kind, which permissions and whose: linux/posix_acl.h, posix_acl_xattr.h."""
    try:
        packed = os.getxattr(place, "system.posix_acl_access")
    except (AttributeError, OSError):  # another system, or there is none
        return [(_OWNING_GROUP, _ALL, 0)]
    return [*struct.iter_unpack("<HHI", packed[4:])]


def _shared_group(gid: int) -> str | None:
    import grp
    import pwd

    try:
        group = grp.getgrgid(gid)
    except KeyError:  # nobody can be in it
        return None
    # Whoever is in these may become root.
    if gid == 0 or (sys.platform == "darwin" and group.gr_name == "admin"):
        return None
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    for name in group.gr_mem:
        with suppress(KeyError):
            members.add(pwd.getpwnam(name).pw_uid)
    # A directory service lists its groups, and whose own group each is, only if it is told to.
    is_listed = gid in {each.gr_gid for each in grp.getgrall()} or group.gr_name == _user_name()
    return None if is_listed and members <= {0, os.geteuid()} else f'the group "{group.gr_name}"'


def _user_name() -> str:
    """Return the name of this user, which that one's own group has as a rule."""
    import pwd

    with suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return ""


def why_not_run(path: Path) -> str | None:
    """Return why the programs in a folder, or one program, may be somebody else's work.

    None where only root and this user can have put them there: the place that the path leads to,
    every folder on the way and every link are theirs. Raises OSError where one of them
    cannot be read.
    """
    places = list(_way_to(path))
    for place in places:
        status = place.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        if not belongs_to_us(status) and not (is_link and _stays(place)):
            return f"{place} belongs to another user"
        who = None if is_link else who_else_may_write(place)
        # In a sticky folder (/tmp) nobody renames what is another's, and everybody makes new files.
        if who and not (place != places[-1] and status.st_mode & stat.S_ISVTX):
            return f"{who} may write to {place}"
    return None


def _stays(link: Path) -> bool:
    """Return whether nobody else can put another link there, not even this one's owner."""
    return not who_else_may_write(link.parent)


def why_anybody_may_replace(path: Path) -> str | None:
    """Return why a file may be the work of any user of the machine; None where it cannot be.

    In a folder that every user may write to, the file and each link and folder on the way to it can
    be replaced; where the folder is sticky, only by whoever made them; where it is mounted
    read-only, by nobody. ``path`` is absolute. Raises OSError where one of them cannot be read.
    """
    for part in _way_to(path) if os.name == "posix" else ():
        above = part.parent.stat()
        if part == part.parent or not above.st_mode & stat.S_IWOTH or is_read_only(part.parent):
            continue
        if not above.st_mode & stat.S_ISVTX:
            return f"every user may write to {part.parent}, and replace what is there"
        if not belongs_to_us(part.lstat()):
            return f"every user may write to {part.parent}, and {part.name} there is another user's"
    return None


def is_read_only(path: Path) -> bool:
    """Return whether a file or folder is mounted so that nobody can write to it."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _way_to(path: Path) -> Iterator[Path]:
    """Yield the folders and links that the system passes on its way, and the place itself."""
    path = path.absolute()
    at, left = Path(path.anchor), [*path.parts[1:]]
    yield at
    for _ in range(_STEPS):
        if not left:
            return
        name = left.pop(0)
        at = at.parent if name == os.pardir else at / name
        yield at
        if at.is_symlink():
            target = at.readlink()
            left[:0] = target.parts[1:] if target.is_absolute() else target.parts
            at = Path(target.anchor) if target.is_absolute() else at.parent
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


_STEPS = 1000
"""Folders and links on a way: a circle of links has more."""
