"""Videos of one's own, sorted into folders named real and fake, or listed in a CSV file."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from deepfake.corpora.corpus import Corpus, FolderCount, few, identities_of, read_csv
from deepfake.errors import UserError
from deepfake.io import storable
from deepfake.records import FAKE, REAL, SPLITS, Video
from deepfake.video.probe import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

CLASSES = {"real": REAL, "fake": FAKE}
LAYOUT = "expected are <root>/real and <root>/fake with videos (or both below each of train, val, test)"


def folder_corpus(root: str | Path) -> Corpus:
    """The videos below real/ and fake/ at any depth; the first subfolder of fake/ is the method.

    Folders train, val and test are the official protocol. Identities are known if a file is named as in a
    known dataset. Raises UserError for another layout, with what was found.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; {LAYOUT}")
    try:
        return _corpus(root)
    except OSError as err:
        raise UserError(f"data.root={root}: {err.filename} cannot be listed ({err.strerror})") from err


def _corpus(root: Path) -> Corpus:
    """The videos below an existing root."""
    below = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    if not set(below) >= set(SPLITS):
        return Corpus(name="folder", videos=tuple(_listed(root, root)))
    videos = {name: _listed(below[name], root) for name in SPLITS}
    return Corpus(
        name="folder",
        videos=tuple(video for part in videos.values() for video in part),
        splits={"official": {video.key: name for name, part in videos.items() for video in part}},
    )


def _listed(folder: Path, root: Path) -> list[Video]:
    """Videos of the folders real and fake in a folder; keys are relative to root."""
    below = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    files = {
        path: name
        for name in CLASSES
        if name in below
        for path in sorted(below[name].rglob("*"))
        if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    }
    if set(files.values()) != set(CLASSES):
        found = few(sorted(path.name for path in folder.iterdir()), 10) or "nothing"
        counts = Counter(files.values())
        raise UserError(
            f"{folder}: {counts['real']} real and {counts['fake']} fake videos found; {LAYOUT}; "
            f"found: {found}"
        )
    keys = _unique_keys({path: path.relative_to(root) for path in files})
    videos = []
    for path, name in files.items():
        inner = [storable(part) for part in path.relative_to(below[name]).parts]
        videos.append(
            Video(
                key=keys[path],
                path=path,
                corpus="folder",
                label=CLASSES[name],
                method=inner[0] if name == "fake" and len(inner) > 1 and inner[0].lower() != "real" else name,
                identities=identities_of(path.stem),
            )
        )
    return videos


Item = TypeVar("Item")


def _unique_keys(paths: Mapping[Item, Path]) -> dict[Item, str]:
    """Each path without its suffix; with it where two paths would be alike."""
    plain = {item: storable(path.with_suffix("").as_posix()) for item, path in paths.items()}
    shared = {key for key, count in Counter(plain.values()).items() if count > 1}
    return {item: storable(paths[item].as_posix()) if key in shared else key for item, key in plain.items()}


# Videos listed in a CSV file.


LABELS = {"real": REAL, "0": REAL, "fake": FAKE, "1": FAKE}
ALIASES = {"valid": "val", "validation": "val"}
CSV_LAYOUT = "the columns path,label[,method,identity,split], label real or 0, fake or 1"


def csv_corpus(root: str | Path) -> Corpus:
    """The videos of a CSV file; paths are relative to its folder, or absolute.

    identity: the person seen and, of a fake, the person whose face was used, joined by ";"; if it is empty,
    identities are known if the file is named as in a known dataset. split: train, val or test in all rows
    makes the official protocol; it may be empty in all rows, but not in some. Rows whose file is missing are
    counted and omitted. Raises UserError naming the line.
    """
    table = Path(root)
    if not table.is_file():
        raise UserError(f"data.root={table}: no such file; expected is a CSV with {CSV_LAYOUT}")
    rows = _read(table)
    splits = _splits(table, rows)
    present = {line: row for line, row in rows.items() if (table.parent / row["path"]).is_file()}
    missing = [row["path"] for line, row in rows.items() if line not in present]
    if missing:
        log.warning("%s: %d of %d files do not exist: %s", table, len(missing), len(rows), few(missing))
    if not present:
        raise UserError(
            f"{table}: none of its {len(rows)} files exists; paths are relative to {table.parent}"
        )
    keys = _keys(table, present)
    return Corpus(
        name=table.stem,
        videos=tuple(_video(table, line, row, keys[line]) for line, row in present.items()),
        splits={"official": {keys[line]: splits[line] for line in present}} if splits else {},
        counts=(FolderCount(table.name, len(present), len(rows), tuple(sorted(missing))),),
    )


def _read(table: Path) -> dict[int, dict[str, str]]:
    """Rows by line number; a column that the file does not have is empty."""
    columns, lines = read_csv(table)
    names = {name: name.strip().lower() for name in columns}
    if not {"path", "label"} <= set(names.values()):
        raise UserError(f"{table}: its first line must name {CSV_LAYOUT}; it is {','.join(names)}")
    blank = dict.fromkeys(("path", "label", "method", "identity", "split"), "")
    rows: dict[int, dict[str, str]] = {}
    line_of: dict[str, int] = {}
    for line, values in lines:
        row = blank | {names[name]: values[name].strip() for name in names}
        if not row["path"]:
            raise UserError(f"{table}, line {line}: the path is empty")
        if row["label"].lower() not in LABELS:
            raise UserError(f"{table}, line {line}: label {row['label']!r} is none of {', '.join(LABELS)}")
        if (first := line_of.setdefault(_absolute(table, row), line)) != line:
            raise UserError(f"{table}, line {line}: {row['path']} is in line {first} too")
        rows[line] = row
    if not rows:
        raise UserError(f"{table}: no rows; expected are {CSV_LAYOUT}")
    return rows


def _absolute(table: Path, row: Mapping[str, str]) -> str:
    """The row's path without "." and ".."; links are not resolved, as their names are the videos' keys."""
    return os.path.abspath(table.parent / row["path"])


def _keys(table: Path, rows: Mapping[int, Mapping[str, str]]) -> dict[int, str]:
    """Key by line: the path relative to the table's folder if it lies there, else without its root."""
    folder = Path(os.path.abspath(table.parent))
    paths = {line: Path(_absolute(table, row)) for line, row in rows.items()}
    return _unique_keys(
        {
            line: path.relative_to(folder if path.is_relative_to(folder) else path.anchor)
            for line, path in paths.items()
        }
    )


def _splits(table: Path, rows: Mapping[int, Mapping[str, str]]) -> dict[int, str]:
    """Split by line, of all rows or of none, including rows whose file is missing."""
    splits = {}
    for line, row in rows.items():
        name = ALIASES.get(row["split"].lower(), row["split"].lower())
        if name and name not in SPLITS:
            raise UserError(f"{table}, line {line}: split {row['split']!r} is none of {', '.join(SPLITS)}")
        if name:
            splits[line] = name
    if splits and len(splits) < len(rows):
        first = next(line for line in rows if line not in splits)
        raise UserError(
            f"{table}, line {first}: no split, but {len(splits)} of {len(rows)} rows have one; give a "
            "split to all rows or to none"
        )
    return splits


def _video(table: Path, line: int, row: Mapping[str, str], key: str) -> Video:
    path, label = table.parent / row["path"], LABELS[row["label"].lower()]
    method = "fake" if row["method"].lower() in ("", "real") else row["method"]
    people = [name.strip() for name in row["identity"].split(";") if name.strip()]
    return Video(
        key=key,
        path=path,
        corpus="csv",
        label=label,
        method="real" if label == REAL else method,
        identities=tuple(p if ":" in p else f"csv:{p}" for p in people) or identities_of(path.stem),
    )
