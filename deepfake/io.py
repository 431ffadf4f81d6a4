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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from deepfake.errors import chain_of

log = logging.getLogger(__name__)

# what moves a terminal's cursor, ends a line, or turns the direction of the text that follows
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SURROGATE = re.compile("[\ud800-\udfff]")

PART, LOCK = ".deepfake-part", ".deepfake-lock"
STALE = re.compile(rf"\.(?P<name>.+?)(?:\.[0-9a-f]{{12}}{re.escape(PART)}|{re.escape(LOCK)})")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of writing that pass when there is room again."""


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
def atomic_path(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Where to write a file that appears at path in one step when the block ends without an error.

    The folder is made. durable: the content is on the disk before the file appears. Several processes may
    write the same file at the same time: the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        yield part
        if durable:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


MACOS_FILES = ("._", ".DS_Store")
"""How names begin that macOS adds to folders."""


def walk_files(folder: Path, *, recursive: bool = True, upwards: bool = True) -> Iterator[Path]:
    """The files in a folder and, if recursive, in those below it, in no order, without hidden folders.

    Files of MACOS_FILES are left out too.

    Links to folders are followed after the folders themselves, and each real folder is entered once, so that
    rings of links end. upwards: also where a link leads to a folder that holds the link. Folders that cannot
    be listed are logged.
    """
    entered: set[tuple[int, int]] = set()
    starts = [folder]
    while starts:
        links: list[Path] = []
        for start in starts:
            for place, folders, names in os.walk(start, onerror=_warn_of_folder):
                here = os.stat(place)
                if (here.st_dev, here.st_ino) in entered:
                    folders.clear()
                    continue
                entered.add((here.st_dev, here.st_ino))
                folders[:] = sorted(name for name in folders if name[0] != ".") if recursive else []
                linked = [path for name in folders if (path := Path(place, name)).is_symlink()]
                links += linked if upwards else [path for path in linked if not _leads_upwards(path)]
                yield from (Path(place, name) for name in names if not name.startswith(MACOS_FILES))
        starts = links


def _leads_upwards(link: Path) -> bool:
    return link.parent.resolve().is_relative_to(link.resolve())


def _warn_of_folder(err: OSError) -> None:
    log.warning("%s: not looked into (%s)", err.filename, err.strerror)


def kinds_of(paths: Iterable[Path]) -> str:
    """How many files there are of each suffix, most first: "3 .txt, 1 without suffix"."""
    times = Counter(path.suffix.lower() or "without suffix" for path in paths)
    return ", ".join(
        f"{num} {kind}" for kind, num in sorted(times.items(), key=lambda pair: (-pair[1], pair[0]))
    )


def slash_hint(path: Path) -> str:
    """What to do about a path that is not there, where it has the backslashes of Windows; else empty."""
    return "; its folders are separated by backslashes: write / instead" if "\\" in str(path) else ""


def write_text(path: Path, text: str) -> None:
    """A text in UTF-8; see atomic_path."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Values as JSON, indented; see atomic_path."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows under a header, in UTF-8; see csv_writer and atomic_path."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
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


def disk_is_full(err: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that there was no room to write."""
    return any(getattr(cause, "errno", None) in DISK_FULL for cause in chain_of(err))


@contextmanager
def file_lock(path: Path, *, wait: bool = False, without_locks: bool = True) -> Iterator[bool]:
    """Whether this process alone may make the file now; False if another process is making it, unless wait.

    Several processes, on one machine or many, can thus fill one folder without making a file twice. Check
    inside the block whether the file is still missing, since another process may just have finished it. The
    system frees the lock of a process that dies. without_locks: the answer where files cannot be locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path(path), timeout=-1 if wait else 0)
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
        # Safe while it is held: filelock (>= 3.21) gives up a lock whose file is gone and opens a new one.
        lock_path(path).unlink(missing_ok=True)
        lock.release()


def remove_stale(folder: Path) -> None:
    """Remove what killed processes left below folder: unfinished files and locks, none of other programs."""
    for left in sorted(folder.rglob(".*")):
        if stale := STALE.fullmatch(left.name):
            with file_lock(left.with_name(stale["name"]), without_locks=False) as mine:
                if mine:
                    left.unlink(missing_ok=True)


def lock_path(path: Path) -> Path:
    """The lock file beside a file."""
    return path.with_name(f".{path.name}{LOCK}")


def package_version(name: str) -> str:
    """The version of an installed package; "not installed" where a clone runs without an installation."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
