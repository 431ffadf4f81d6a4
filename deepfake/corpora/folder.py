"""Any videos sorted by hand: <root>/real and <root>/fake, or those two below train, val and test."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from deepfake.corpora.corpus import Corpus, FolderCount, few, identities_of, read_csv
from deepfake.errors import UserError
from deepfake.io import storable
from deepfake.records import FAKE, REAL, SPLITS, Video
from deepfake.video.probe import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

CLASSES = {"real": REAL, "fake": FAKE}
LAYOUT = "expected <root>/real and <root>/fake with videos in them (or train, val, test with these two below)"


def folder_corpus(root: str | Path) -> Corpus:
    """The videos below real/ and fake/ at any depth; a first subfolder of fake/ is the method.

    Folders train, val and test are the official protocol. People are known where names follow a known
    dataset's. Raises UserError if the layout is another, with what was found.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; {LAYOUT}")
    try:
        return _corpus(root)
    except OSError as err:
        raise UserError(f"data.root={root}: {err.filename} cannot be listed ({err.strerror})") from err


def _corpus(root: Path) -> Corpus:
    """The videos below a root that is there."""
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
    """Videos of the real and fake folders in a folder, keys relative to root, without split."""
    below = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    files = {
        path: name
        for name in CLASSES
        if name in below
        for path in sorted(below[name].rglob("*"))
        if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    }
    if set(files.values()) != set(CLASSES):
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        counts = Counter(files.values())
        raise UserError(
            f"{folder}: {counts['real']} real and {counts['fake']} fake videos found; {LAYOUT}; "
            f"it holds: {there}"
        )
    keys = {path: storable(path.relative_to(root).with_suffix("").as_posix()) for path in files}
    twice = {key for key, count in Counter(keys.values()).items() if count > 1}
    videos = []
    for path, name in files.items():
        inner = [storable(part) for part in path.relative_to(below[name]).parts]
        videos.append(
            Video(
                key=storable(path.relative_to(root).as_posix()) if keys[path] in twice else keys[path],
                path=path,
                corpus="folder",
                label=CLASSES[name],
                method=inner[0] if name == "fake" and len(inner) > 1 and inner[0].lower() != "real" else name,
                identities=identities_of(path.stem),
            )
        )
    return videos


# Videos listed in a CSV file: path, label, and whatever else is known of them.


LABELS = {"real": REAL, "0": REAL, "fake": FAKE, "1": FAKE}
ALIASES = {"valid": "val", "validation": "val"}
TABLE_LAYOUT = "the columns path,label[,method,identity,split], label real or 0, fake or 1"


def table_corpus(root: str | Path) -> Corpus:
    """The videos of a CSV file; paths are relative to its folder, or absolute.

    identity: who is seen, then whose face was used, joined by ";"; where it is empty, names that follow a
    known dataset's tell. split: train, val or test in every row, or in none; then it is the official
    protocol. Rows whose file is not there are counted and left out. Raises UserError naming the line.
    """
    table = Path(root)
    if not table.is_file():
        raise UserError(f"data.root={table}: no such file; expected is a CSV with {TABLE_LAYOUT}")
    rows = _read(table)
    splits = _splits(table, rows)
    lacking = [row["path"] for row in rows.values() if not (table.parent / row["path"]).is_file()]
    if lacking:
        log.warning("%s: %d of %d files are not there: %s", table, len(lacking), len(rows), few(lacking))
    present = {line: row for line, row in rows.items() if (table.parent / row["path"]).is_file()}
    if not present:
        raise UserError(
            f"{table}: none of its {len(rows)} files is there; paths are relative to {table.parent}"
        )
    keys = _keys(table, present)
    return Corpus(
        name=table.stem,
        videos=tuple(_video(table, line, row, keys[line]) for line, row in present.items()),
        splits={"official": {keys[line]: splits[line] for line in present}} if splits else {},
        counts=(FolderCount(table.name, len(present), len(rows), tuple(sorted(lacking))),),
    )


def _read(table: Path) -> dict[int, dict[str, str]]:
    """Rows by line number, with an empty text for every column that is not there."""
    columns, lines = read_csv(table)
    names = {name: name.strip().lower() for name in columns}
    if not {"path", "label"} <= set(names.values()):
        raise UserError(f"{table}: its first line must name {TABLE_LAYOUT}; it is {','.join(names)}")
    blank = dict.fromkeys(("path", "label", "method", "identity", "split"), "")
    rows: dict[int, dict[str, str]] = {}
    line_of: dict[str, int] = {}
    for line, values in lines:
        row = blank | {names[name]: values[name].strip() for name in names}
        if not row["path"]:
            raise UserError(f"{table}, line {line}: it has no path")
        if row["label"].lower() not in LABELS:
            raise UserError(f"{table}, line {line}: label {row['label']!r} is none of {', '.join(LABELS)}")
        if (first := line_of.setdefault(_absolute(table, row), line)) != line:
            raise UserError(f"{table}, line {line}: {row['path']} stands in line {first} too")
        rows[line] = row
    if not rows:
        raise UserError(f"{table}: it has no rows; expected are {TABLE_LAYOUT}")
    return rows


def _absolute(table: Path, row: Mapping[str, str]) -> str:
    """The row's path without "." and ".."; links stay, as their own names are the videos' keys."""
    return os.path.abspath(table.parent / row["path"])


def _keys(table: Path, rows: Mapping[int, Mapping[str, str]]) -> dict[int, str]:
    """Key by line: the path below the table's folder without suffix, with it where two would be alike."""
    folder = Path(os.path.abspath(table.parent))
    paths = {}
    for line, row in rows.items():
        path = Path(_absolute(table, row))
        inside = path.is_relative_to(folder)
        paths[line] = path.relative_to(folder if inside else path.anchor)
    plain = {line: path.with_suffix("").as_posix() for line, path in paths.items()}
    twice = {key for key, num in Counter(plain.values()).items() if num > 1}
    return {line: paths[line].as_posix() if key in twice else key for line, key in plain.items()}


def _splits(table: Path, rows: Mapping[int, Mapping[str, str]]) -> dict[int, str]:
    """Split by line, of all rows or of none, whether their files are there or not."""
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
            f"{table}, line {first}: it has no split, but {len(splits)} of {len(rows)} rows have a split; "
            "give one to all or to none"
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
