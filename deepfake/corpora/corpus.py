"""What lies on disk of a dataset: its videos, found by folder and file name, and the lists beside them."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from deepfake.errors import UserError
from deepfake.records import Video

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The videos of a dataset and the splits that come with it.

    name: for reports, with version or compression: "celebdf_v2". videos: sorted by key, without split.
    splits: the dataset's own protocols, each a table from video key to split; a protocol omits the videos
    that its table omits, and takes its validation from "train" if its table has no "val". unavailable: for
    each protocol of the dataset whose lists are not on disk, what is missing and where to put it. validates:
    whether the dataset's own protocols have a validation split. counts: videos per folder. unused: folders
    below the root that no protocol uses, with their number of files.
    """

    name: str
    videos: tuple[Video, ...]
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    validates: bool = False
    counts: tuple[FolderCount, ...] = ()
    unused: Mapping[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "videos", tuple(sorted(self.videos, key=lambda video: video.key)))
        keys = [video.key for video in self.videos]
        if twice := sorted({a for a, b in pairwise(keys) if a == b}):
            raise ValueError(f"{self.name}: {len(twice)} keys stand for two videos, such as {twice[0]}")


@dataclass(frozen=True, slots=True)
class FolderCount:
    """Videos found in one folder, and the number that the dataset should have there (None if unknown).

    missing, unknown: file names; missing may list fewer names than are missing, as not all are known.
    """

    name: str
    present: int
    expected: int | None
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


# File names of the known datasets, and the people in a video by its name.


FFPP_REAL = re.compile(r"(?P<ffpp>\d{3})")
FFPP_FAKE = re.compile(r"(?P<ffpp>\d{3})_(?P<ffpp_source>\d{3})")
SCENE = r"[a-z]+(?:_[a-z]+)*"
DFD_REAL = re.compile(rf"(?P<dfd>\d{{2}})__{SCENE}")
DFD_FAKE = re.compile(rf"(?P<dfd>\d{{2}})_(?P<dfd_source>\d{{2}})__{SCENE}__[A-Z0-9]{{8}}")
CELEBDF_REAL = re.compile(r"(?P<cdf>id\d+)_\d{4}")
CELEBDF_FAKE = re.compile(r"(?P<cdf>id\d+)_(?P<cdf_source>id\d+)_\d{4}")
DEEPERFORENSICS_FAKE = re.compile(r"(?P<ffpp>\d{3})_(?P<dfo_source>[MW][01]\d{2})")

GRAMMARS = (FFPP_REAL, FFPP_FAKE, DFD_REAL, DFD_FAKE, CELEBDF_REAL, CELEBDF_FAKE, DEEPERFORENSICS_FAKE)


def identities_of(stem: str) -> tuple[str, ...]:
    """People as "dataset:id": target and source of a fake, or the one person of a real video; () if unknown.

    Groups of the GRAMMARS are named after the dataset; DeeperForensics targets are FaceForensics++ videos.
    """
    for grammar in GRAMMARS:
        if found := grammar.fullmatch(stem):
            return tuple(f"{name.partition('_')[0]}:{value}" for name, value in found.groupdict().items())
    return ()


# Lists and metadata beside the videos; a malformed file raises UserError with its name and line.


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Line number and text of every line that is not blank; the last may lack its line break."""
    lines = enumerate(_text(path).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(_text(path))
    except ValueError as err:
        raise UserError(f"{path}: not readable as JSON ({err}); download it again or remove it") from err


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns of a CSV file with a header, and its rows by column, each with its line number.

    A value that a short row lacks is empty. Raises UserError naming the line.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), restval="")
    try:
        return list(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except csv.Error as err:
        raise UserError(f"{path}, line {reader.line_num + 1}: not readable as CSV ({err})") from err


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror})") from err
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not a text file in UTF-8 ({err.reason})") from err


# Folders of a downloaded dataset; their names are compared without case.


# folders by which a dataset is recognised, in lower case, and its group in conf/data
FOLDERS_OF = {
    "celeb-synthesis": "celebdf",
    "celeb-real": "celebdf",
    "manipulated_sequences": "ffpp",
    "original_sequences": "ffpp",
    "manipulated_videos": "deeperforensics",
    "dfdc_train_part_0": "dfdc",
    "dfdc_train_part_00": "dfdc",
    "method_a": "dfdc",
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one folder of a dataset.

    name: the dataset's name for the folder. path: where it was found, or None. files: paths by stem of the
    files named as the dataset names its videos. unknown: names of all other files.
    """

    name: str
    path: Path | None
    files: dict[str, Path]
    unknown: tuple[str, ...] = ()


def resolve(root: Path, place: str) -> Path | None:
    """root/place with every folder name compared without case; None if there is no such folder."""
    folder = root
    for name in place.split("/"):
        if (folder / name).is_dir():
            folder /= name
            continue
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return None
        found = next((other for other in names if other.casefold() == name.casefold()), None)
        if found is None or not (folder / found).is_dir():
            return None
        folder /= found
    return folder


def list_folder(
    root: Path, name: str, places: Sequence[str], grammar: re.Pattern[str], *, suffix: str = ".mp4"
) -> Listing:
    """The files of the first of these places (relative to root) that holds a file named by the grammar.

    Hidden files and subfolders are ignored. The suffix is compared without case; of two files that differ in
    its case alone the first is taken. Logs a warning if a later place holds videos too.
    """
    best = Listing(name, None, {})
    for place in places:
        folder = resolve(root, place)
        if folder is None:
            continue
        files: dict[str, Path] = {}
        unknown = []
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name[:1] != "." and not entry.is_dir())
        for file in names:
            stem, ending = os.path.splitext(file)
            if ending.lower() == suffix and grammar.fullmatch(stem) and stem not in files:
                files[stem] = folder / file
            else:
                unknown.append(file)
        listing = Listing(name, folder, files, tuple(unknown))
        if files and best.files:
            log.warning("%s: %d videos are not read, since those of %s are", folder, len(files), best.path)
        best = listing if (files and not best.files) or best.path is None else best
    return best


def count(
    listing: Listing, expected: int | None, *, names: Collection[str] = (), total_known: bool = True
) -> FolderCount:
    """Compare a listing with the expected number of videos and the stems that should be there.

    total_known: names are all that are expected, so that any other name is unknown.
    """
    others = sorted(set(listing.files) - set(names)) if names and total_known else ()
    missing = tuple(sorted(set(names) - set(listing.files)))
    return FolderCount(listing.name, len(listing.files), expected, missing, (*listing.unknown, *others))


def warn_of_gaps(dataset: str, root: Path, listings: Iterable[Listing]) -> None:
    """Log the files that are ignored for their names, and the folders without videos."""
    for listing in listings:
        ignored = f"files of {listing.path} are ignored, as {dataset} names no video like"
        warn_of_names(f"{dataset}: %d {ignored}", listing.unknown)
        if not listing.files:
            log.warning("%s: no video of %s in %s", dataset, listing.name, root)


def warn_of_names(text: str, names: Sequence[str]) -> None:
    """Log a text with the number of names (its %d) and the first few of them, unless there are none."""
    if names:
        log.warning(f"{text}: %s", len(names), few(names))


def few(names: Sequence[str], num: int = 3) -> str:
    """The first names, with "…" if there are more."""
    return ", ".join(names[:num]) + (" …" if len(names) > num else "")


def wrong_root(root: Path, what: str, layout: str, *, group: str) -> UserError:
    """The error for a root without the dataset: what was not found, the expected tree, and what is there.

    what: such as "no Celeb-DF video found". group: the dataset's group in conf/data.
    """
    if not root.is_dir():
        return UserError(f"data.root={root}: no such folder. Expected:\n{layout}")
    there = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if path.name[0] != ".")
    found = few(there, 12) if there else "nothing"
    return UserError(f"data.root={root}: {what}.{_hint(root, group)} Expected:\n{layout}\nFound: {found}")


def _hint(root: Path, group: str) -> str:
    """Where the dataset may be instead, or which other dataset this may be."""
    below = [path for path in sorted(root.iterdir()) if path.is_dir()]
    for folder in (root, *below, root.resolve().parent, root.resolve().parent.parent):
        try:
            names = {name.casefold() for name in os.listdir(folder)}
        except OSError:
            continue
        for mark, dataset in FOLDERS_OF.items():
            if mark in names and dataset == group and folder != root:
                return f" Did you mean data.root={folder}?"
            if mark in names and dataset != group and folder == root:
                return f" This looks like data={dataset}."
    return ""
