"""File names of the known datasets, and who is in a video by its name."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from deepfake.errors import UserError
from deepfake.records import Video

log = logging.getLogger(__name__)

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
    """Target, then source of a fake, or the one person of a real video, as "dataset:id"; () if unknown.

    Group names in the grammars are the datasets'; DeeperForensics targets are FaceForensics++ videos.
    """
    for grammar in GRAMMARS:
        if found := grammar.fullmatch(stem):
            return tuple(f"{name.partition('_')[0]}:{value}" for name, value in found.groupdict().items())
    return ()


# Lists and metadata beside the videos, read whole; a file that is something else is one clear error.


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Line number and text of every line that is not blank; the last may lack its line break."""
    lines = enumerate(_text(path).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(_text(path))
    except ValueError as err:
        raise UserError(f"{path}: not readable as JSON ({err}); download it again or take it away") from err


class Rows(csv.DictReader):  # type: ignore[type-arg]  # generic from Python 3.12 on
    """Rows by column; a line that is no CSV is one clear error."""

    path: Path

    def __next__(self) -> dict[str | Any, str | Any]:
        """The next row."""
        try:
            return super().__next__()
        except csv.Error as err:
            raise UserError(f"{self.path}, line {self.line_num + 1}: not readable as CSV ({err})") from err


def read_csv(path: Path) -> Rows:
    """The rows of a CSV file with a header; raises UserError naming the line, now or while they are read."""
    rows = Rows(io.StringIO(_text(path), newline=""))
    rows.path = path
    try:
        _ = rows.fieldnames
    except csv.Error as err:
        raise UserError(f"{path}, line 1: not readable as CSV ({err})") from err
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror})") from err
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not a text file in UTF-8 ({err.reason})") from err


# Folders of a downloaded dataset: found in any case, listed once, counted against what should be there.


# what only one dataset has in its root folder: group of conf/data by folder name in lower case
MARKS = {
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
    """The files of one folder of a layout.

    name: of the folder in the dataset's own words. path: where it was found, None if nowhere. files: those
    that the dataset's grammar knows, by stem. unknown: names of all others.
    """

    name: str
    path: Path | None
    files: dict[str, Path]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FolderCount:
    """Videos of one folder against the dataset's own count; names as far as they can be known.

    expected is None where nobody says how many there are; missing may hold fewer names than are missing.
    """

    name: str
    present: int
    expected: int | None
    missing: tuple[str, ...] = ()
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
    """The files of the first of these places (relative to root) that holds any the grammar knows; videos in
    a later one are warned of.

    The suffix counts in any case, hidden files and subfolders do not count. Of two files that differ in the
    suffix's case alone the first is taken.
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
            log.warning("%s: %d videos are not read, since %s has some too", folder, len(files), best.path)
        best = listing if (files and not best.files) or best.path is None else best
    return best


def count(
    listing: Listing, expected: int | None, *, names: Collection[str] = (), total_known: bool = True
) -> FolderCount:
    """The listing against an expected number and the stems that should be there.

    With total_known=False names are only some of those expected, so others are not unknown.
    """
    strangers = () if not names or not total_known else tuple(sorted(set(listing.files) - set(names)))
    missing = tuple(sorted(set(names) - set(listing.files)))
    return FolderCount(listing.name, len(listing.files), expected, missing, (*listing.unknown, *strangers))


def warn_of_unknown(dataset: str, listings: Sequence[Listing]) -> None:
    """Name the files that are left out because the dataset has no such names."""
    for listing in listings:
        if listing.unknown:
            log.warning(
                "%s: %d files ignored, not named like %s videos: %s",
                listing.path,
                len(listing.unknown),
                dataset,
                few(listing.unknown),
            )


def few(names: Sequence[str], num: int = 3) -> str:
    """The first names, and whether there are more."""
    return ", ".join(names[:num]) + (" …" if len(names) > num else "")


def wrong_root(root: Path, what: str, layout: str, *, group: str) -> UserError:
    """The error for a root without the dataset: what was looked for, the expected tree, what is there.

    what: "no Celeb-DF video found". group: of conf/data, to tell when the folder holds another dataset.
    """
    if not root.is_dir():
        return UserError(f"data.root={root}: no such folder. Expected is\n{layout}")
    there = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if path.name[0] != ".")
    holds = few(there, 12) if there else "nothing"
    return UserError(
        f"data.root={root}: {what}.{_hint(root, group)} Expected is\n{layout}\nIt holds: {holds}"
    )


def _hint(root: Path, group: str) -> str:
    """Where the dataset may be instead, or which other dataset this is."""
    below = [path for path in sorted(root.iterdir()) if path.is_dir()]
    for folder in (root, *below, root.resolve().parent, root.resolve().parent.parent):
        try:
            names = {name.casefold() for name in os.listdir(folder)}
        except OSError:
            continue
        for mark, dataset in MARKS.items():
            if mark in names and dataset == group and folder != root:
                return f" Did you mean data.root={folder}?"
            if mark in names and dataset != group and folder == root:
                return f" This looks like data={dataset}."
    return ""


# What lies on disk of a dataset, before any protocol says which video trains and which tests.


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The videos of a dataset and the splits that come with it.

    name: for reports, with version or compression: "celebdf_v2". videos: sorted by key, without split.
    splits: the dataset's own protocols, split by video key; a video that a protocol does not place is left
    out of it, and one without "val" has its validation carved from "train". unavailable: for a protocol
    that the dataset has but that is not on disk, what is missing and where it belongs. validates: whether the
    dataset's own protocols have a validation split. counts: videos a folder. unused: folders below the root
    that no protocol uses, with their number of files.
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
