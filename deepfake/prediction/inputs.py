"""What a user names as input, files, folders, patterns and lists of them, as the files to score."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import exists, isdir, isfile, islink  # unlike Path.exists(), False for invalid names
from pathlib import Path

from deepfake.errors import UserError
from deepfake.io import kinds_of, slash_hint, walk_files
from deepfake.video.decode import IMAGE_SUFFIXES
from deepfake.video.probe import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
MAGIC = re.compile(r"[*?[]")
FETCH = {
    "file": "leave file:// away and give the path",
    "s3": "copy it here first, for example `aws s3 cp {url} .`, and give the file",
    "gs": "copy it here first, for example `gcloud storage cp {url} .`, and give the file",
    "rtsp": "record it first, for example `ffmpeg -i {url} -t 60 -c copy clip.mp4`, and give the file",
}
FETCH |= dict.fromkeys(("rtmp", "rtmps", "rtp", "udp", "srt", "mms"), FETCH["rtsp"])
DOWNLOAD = "download it first, for example `curl -LO {url}`, and give the file"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to score; trouble: why it cannot be, where that is known before it is opened.

    url: what a list has in place of a path.
    """

    path: Path
    trouble: str = ""
    url: str = ""

    @property
    def name(self) -> str:
        """The path as text that any table can hold: bytes that are no UTF-8 are shown as \\xNN."""
        return os.fsencode(self.url or self.path).decode("utf-8", "backslashreplace")


def collect(given: str | Sequence[str], *, recursive: bool = True) -> list[InputFile]:
    """The files to score, in the order given and each once, however often it is named.

    Each of given is a file; a folder: its videos and images in order of name, with those of its subfolders
    unless recursive is off; a pattern with * ? [ ] **; or a text list, FILE.txt or @FILE. What exists under a
    name is taken as it is, also where it looks like a pattern. Links to folders are followed, each folder
    once. Raises UserError for what is not there, for a URL, and where nothing is found; a line of a list
    that names nothing is a Found with trouble instead.
    """
    names = [given] if isinstance(given, str) else [str(name) for name in given]
    files: dict[str, InputFile] = {}  # by absolute path
    for name in names:
        for found in expand(name, recursive=recursive):
            files.setdefault(os.path.abspath(found.path), found)
    if not files:
        raise UserError(f"input={given}: no video or image in it ({', '.join(sorted(SUFFIXES))})")
    return list(files.values())


def expand(name: str, *, recursive: bool) -> Iterator[InputFile]:
    """All that one name of the input stands for."""
    if not name.strip():
        raise UserError("input= is empty: name a file, a folder, a pattern or a list")
    if URL.match(name):
        raise UserError(f"input={name}: a URL, and only files of this machine are read; {hint(name)}")
    path = expanded(name)
    if name.startswith("@") and not exists(path):
        yield from listed(expanded(name[1:]), name, recursive=recursive)
    elif isfile(path) and path.suffix.lower() == ".txt":
        yield from listed(path, name, recursive=recursive)
    elif exists(path) or islink(path):
        yield from at(path, recursive=recursive)
    elif MAGIC.search(name):
        yield from matches(path, recursive=recursive)
    else:
        raise UserError(f"input={name}: no such file or folder{slash_hint(path)}")


def at(path: Path, *, recursive: bool) -> Iterator[InputFile]:
    """A file, or what is in a folder."""
    if not isdir(path):
        yield InputFile(path, trouble_with(path))
        return
    files = below(path, recursive=recursive)
    if not files:
        log.warning("no video or image in %s", path)
    yield from (InputFile(file, trouble_with(file)) for file in files)


def below(folder: Path, *, recursive: bool) -> list[Path]:
    """Videos and images in a folder, in order of name; see walk_files. Logs how many others are there."""
    files = sorted(walk_files(folder, recursive=recursive))
    others = [path for path in files if path.suffix.lower() not in SUFFIXES]
    if others:
        log.warning(
            "%d files in %s are no videos or images by name: %s", len(others), folder, kinds_of(others)
        )
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def matches(pattern: Path, *, recursive: bool) -> Iterator[InputFile]:
    """What a pattern matches, in order of name: folders stand for what is in them.

    Files of other kinds are left out unless the pattern itself ends in their suffix, and hidden ones unless a
    part of the pattern begins with a dot.
    """
    parts = pattern.parts
    plain = next(place for place, part in enumerate(parts) if MAGIC.search(part))
    start, rest = Path(*parts[:plain]), str(Path(*parts[plain:]))
    try:
        # ** of pathlib, unlike that of the glob module, follows no link to a folder, so that loops end
        paths = sorted(start.glob(rest))
    except (ValueError, re.error) as err:
        raise UserError(f"input={pattern}: not a pattern ({err}); ** stands for whole folder names") from err
    if not any(part.startswith(".") for part in Path(rest).parts):
        paths = [path for path in paths if not any(p[0] == "." for p in path.relative_to(start).parts)]
    asked = Path(rest).suffix.lower()
    found = False
    for path in paths:
        if isdir(path) or path.suffix.lower() in SUFFIXES or (asked and path.suffix.lower() == asked):
            found = True
            yield from at(path, recursive=recursive)
    if not found:
        raise UserError(f"input={pattern}: no such file, and none that it matches as a pattern")


def listed(path: Path, name: str, *, recursive: bool) -> Iterator[InputFile]:
    """What a text list names: a path a line, relative to the list, but for blank lines and # comments."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as err:
        raise UserError(f"input={name}: not a readable list ({err.strerror})") from err
    if any(b"\0" in line for line in lines):
        raise UserError(f"input={name}: not a list of files, which has one path a line")
    for line in lines:
        text = os.fsdecode(line.strip())
        if not text or text.startswith("#"):
            continue
        if URL.match(text):
            yield InputFile(Path(text), f"a URL: {hint(text)}", text)
        else:
            yield from at(path.parent / expanded(text), recursive=recursive)


def expanded(name: str) -> Path:
    """The path with ~ as the home folder, unless a file is called so."""
    path = Path(name)
    try:
        return path if exists(path) or not name.startswith("~") else path.expanduser()
    except RuntimeError:  # no such user
        return path


def trouble_with(path: Path) -> str:
    """Why a path is no file; nothing if it is one."""
    if isfile(path):
        return ""
    if exists(path):
        return f"{path}: not a regular file"
    return f"{path}: a link to nothing" if islink(path) else f"{path}: no such file{slash_hint(path)}"


def hint(url: str) -> str:
    """What to do with a URL."""
    scheme = url.partition("://")[0].lower()
    return FETCH.get(scheme, DOWNLOAD).format(url=url)
