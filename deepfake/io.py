"""Files and texts: names from anybody kept exactly and shown safely, atomic writes, locks, CSV and JSON.

Bytes of a file name that are not UTF-8, which Python reads as lone surrogates, are shown as \\xNN.
"""

from __future__ import annotations

import copy
import csv
import errno
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from deepfake.errors import chain_of

log = logging.getLogger(__name__)

# what moves a terminal's cursor, ends a line, or turns the direction of the text that follows
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SURROGATE = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with lone surrogates escaped, as UTF-8 needs it: the name b"a\\xff" has 5 characters."""
    return SURROGATE.sub(_escape, text)


def visible(text: str, *, lines: bool = False) -> str:
    """The text with control characters escaped, "\\x1b"; lines: line breaks and tabs stay."""
    return CONTROL.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _escape(found), text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Python reads a byte that it cannot decode as 0xdc00 more
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(found[0])[1:-1]


def short_path(path: Path) -> str:
    """A path relative to the working folder, if it lies there."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)


class VisibleFormatter(logging.Formatter):
    """Log lines in which names can neither control the terminal nor start a line of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with each text or path among the arguments on one line."""
        record = copy.copy(record)
        if isinstance(record.args, tuple):
            record.args = tuple(
                visible(str(value)) if isinstance(value, str | Path) else value for value in record.args
            )
        return visible(super().format(record), lines=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that appears under its own name once it is complete.

    The processes of a training may write the same one at the same time.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text in UTF-8; see whole."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Values as JSON, indented; see whole."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows under a header, in UTF-8; see csv_writer and whole."""
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        write = csv_writer(file, columns)
        for row in rows:
            write(row)


def csv_writer(file: IO[str], columns: Sequence[str]) -> Callable[[Mapping[str, Any]], object]:
    """Write a header; the function returned writes one row. Values may hold commas, quotes and line breaks.

    A spreadsheet may read a name such as "=1+1" as a formula: other programs need the name as it is, so
    nothing is put in front of it. Import such columns as text.
    """
    plain = csv.DictWriter(file, columns, lineterminator="\n")
    # csv quotes \r only where it ends lines, and readers would take it for the end of a line
    quoted = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writeheader()

    def write(row: Mapping[str, Any]) -> None:
        row = {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
        returns = any(isinstance(value, str) and "\r" in value for value in row.values())
        (quoted if returns else plain).writerow(row)

    return write


# One maker a file: processes, on one machine or many, that fill the same folder share the work by locks.
#
# A file `a.arrow` is made by whoever holds the lock `.a.arrow.lock` beside it, under a name of the
# maker's own,
# and appears only when it is whole. The system frees the lock of a process that dies.


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
