"""One maker a file: processes, on one machine or many, that fill the same folder share the work by locks.

A file `a.arrow` is made by whoever holds the lock `.a.arrow.lock` beside it, under a name of the maker's own,
and appears only when it is whole. The system frees the lock of a process that dies.
"""

from __future__ import annotations

import errno
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepfake.errors import chain_of

log = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of writing that pass when there is room again."""


def disk_is_full(err: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that there was no room to write."""
    return any(getattr(cause, "errno", None) in DISK_FULL for cause in chain_of(err))


@contextmanager
def claim(path: Path, *, wait: bool = False, without_locks: bool = True) -> Iterator[bool]:
    """Whether this process alone may make path now; False where another one is at it, unless told to wait.

    Look again whether path is still to be made: the other one may have finished it just before.
    without_locks: the answer where files cannot be locked: work may be done twice there, but never half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_of(path), timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as err:
        log.debug("%s cannot be locked: %s", path, err)
        yield without_locks
        return
    try:
        yield True
    finally:
        # whoever waits for this very file finds its work done, or takes the next lock of that name
        lock_of(path).unlink(missing_ok=True)
        lock.release()


def replace_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call write(temporary path) and put the result at path in one step, once it is safe on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left below folder, their unfinished files and locks."""
    for left in sorted([*folder.rglob(".*.tmp"), *folder.rglob(".*.lock")]):
        ending = 1 if left.suffix == ".lock" else 2
        path = left.with_name(left.name[1:].rsplit(".", ending)[0])
        with claim(path, without_locks=False) as mine:
            if mine:
                left.unlink(missing_ok=True)


def lock_of(path: Path) -> Path:
    """The lock beside a file."""
    return path.with_name(f".{path.name}.lock")
