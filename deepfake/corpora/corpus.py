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
from deepfake.records import FAKE, REAL, Video

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The videos of a dataset and the splits that come with it.

    name: for reports, with version or compression: "celebdf_v2". videos: sorted by key, without split.
    splits: the dataset's own protocols, each a table from video key to split; a protocol omits the videos
    that its table omits or gives no split, and takes its validation from "train" if its table has no "val";
    an empty table is removed. unavailable: for each protocol whose table is empty, what is missing and where
    to put it. validates: whether the dataset's own protocols have a validation split. counts: videos per
    folder. unused: folders below the root that no protocol uses, with their number of files.
    """

    name: str
    videos: tuple[Video, ...]
    splits: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    validates: bool = False
    counts: tuple[FolderCount, ...] = ()
    unused: Mapping[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = {name: {k: s for k, s in table.items() if s} for name, table in self.splits.items()}
        missing = {name: advice for name, advice in self.unavailable.items() if not tables.get(name)}
        object.__setattr__(self, "videos", tuple(sorted(self.videos, key=lambda video: video.key)))
        object.__setattr__(self, "splits", {name: table for name, table in tables.items() if table})
        object.__setattr__(self, "unavailable", missing)
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


LABELS = {"real": REAL, "0": REAL, "fake": FAKE, "1": FAKE}


def read_label(value: object, place: str) -> int:
    """The label that a list gives in any case; raises UserError with the place for another value."""
    if (label := LABELS.get(str(value).lower())) is None:
        raise UserError(f"{place} has the label {value!r}, which is none of {', '.join(LABELS)}")
    return label


# File names of the known datasets, which tell the people in a video.

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
    except (ValueError, RecursionError) as err:
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
    "train_sample_videos": "dfdc",
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
        exact = folder / name
        below = [] if exact.is_dir() else sorted(folder.glob("*"))
        folder = next((path for path in below if path.name.casefold() == name.casefold()), exact)
    return folder if folder.is_dir() else None


def list_folder(root: Path, name: str, places: Iterable[str], grammar: re.Pattern[str]) -> Listing:
    """The MP4 files of the first of these places (relative to root) that holds one named by the grammar.

    Hidden files and subfolders are ignored. The suffix is compared without case; of two files that differ in
    its case alone the first is taken. Logs a warning if a later place holds videos too.
    """
    best = Listing(name, None, {})
    for folder in filter(None, (resolve(root, place) for place in places)):
        files: dict[str, Path] = {}
        unknown = []
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name[:1] != "." and not entry.is_dir())
        for file in names:
            stem, ending = os.path.splitext(file)
            if ending.lower() == ".mp4" and grammar.fullmatch(stem) and stem not in files:
                files[stem] = folder / file
            else:
                unknown.append(file)
        if files and best.files:
            log.warning("%s: %d videos are not read, since those of %s are", folder, len(files), best.path)
        elif files or best.path is None:
            best = Listing(name, folder, files, tuple(unknown))
    return best


def count(
    listing: Listing, expected: int | None, names: Collection[str] = (), *, total_known: bool = True
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

    what: such as "no Celeb-DF video found". group: the dataset's group in conf/data, of which it says where
    the dataset may be instead, or which other dataset this may be.
    """
    if not root.is_dir():
        return UserError(f"data.root={root}: no such folder. Expected:\n{layout}")
    below = sorted(root.iterdir())
    hints = []
    for folder in (root, *below, root.resolve().parent, root.resolve().parent.parent):
        try:
            names = {name.casefold() for name in os.listdir(folder)}
        except OSError:
            continue
        for dataset in (FOLDERS_OF[name] for name in FOLDERS_OF if name in names):
            if dataset == group and folder != root:
                hints.append(f" Did you mean data.root={folder}?")
            if dataset != group and folder == root:
                hints.append(f" This looks like data={dataset}.")
    there = few([path.name + "/" * path.is_dir() for path in below if path.name[0] != "."], 12) or "nothing"
    hint = hints[0] if hints else ""
    return UserError(f"data.root={root}: {what}.{hint} Expected:\n{layout}\nFound: {there}")
