"""Videos of one's own, sorted into folders named real and fake, or listed in a CSV file."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from deepfake.corpora.corpus import Corpus, FolderCount, few, identities_of, read_csv, read_label
from deepfake.errors import UserError
from deepfake.io import kinds_of, slash_hint, storable, walk_files
from deepfake.records import FAKE, REAL, SPLITS, Video
from deepfake.video.decode import IMAGE_SUFFIXES
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
        below = _subfolders(root)
        parts = {name: _list_classes(below[name], root) for name in SPLITS if set(below) >= set(SPLITS)}
        videos = [video for part in parts.values() for video in part] if parts else _list_classes(root, root)
    except OSError as err:
        raise UserError(f"data.root={root}: {err.filename} cannot be listed ({err.strerror})") from err
    _warn_of_others(root, videos)
    official = {video.key: name for name, part in parts.items() for video in part}
    return Corpus(name="folder", videos=tuple(videos), splits={"official": official})


def _subfolders(folder: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}


def _list_classes(folder: Path, root: Path) -> list[Video]:
    """Videos of the folders real and fake in a folder; keys are relative to root."""
    below = _subfolders(folder)
    files = {
        path: name
        for name in CLASSES
        if name in below
        for path in sorted(walk_files(below[name], upwards=False))
        if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
    }
    if set(files.values()) != set(CLASSES):
        found = few(sorted(path.name for path in folder.iterdir()), 10) or "nothing"
        counts = Counter(files.values())
        others = [
            path for name in CLASSES if name in below for path in walk_files(below[name], upwards=False)
        ]
        raise UserError(
            f"{folder}: {counts['real']} real and {counts['fake']} fake videos found; {LAYOUT}; "
            f"found: {found}{_picture_hint(others)}"
        )
    keys = _unique_keys(files, root)
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


def _warn_of_others(root: Path, videos: Sequence[Video]) -> None:
    """Log how many files below root are not taken, and how many are taken as real and as fake."""
    taken = {video.path.resolve() for video in videos}
    others = [path for path in walk_files(root, upwards=False) if path.resolve() not in taken]
    if others:
        log.warning(
            "%d files below %s are not looked at, as they are no videos in real or fake: %s%s",
            len(others),
            root,
            kinds_of(others),
            _picture_hint(others),
        )
    labels: dict[Path, set[int]] = {}
    for video in videos:
        labels.setdefault(video.path.resolve(), set()).add(video.label)
    if both := [str(path) for path, found in labels.items() if len(found) > 1]:
        log.warning("%d files are linked as real and as fake: %s", len(both), few(both))


def _picture_hint(paths: Iterable[Path]) -> str:
    pictures = any(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    return "; data=folder takes videos only, and predict.py pictures too" if pictures else ""


def _unique_keys(paths: Collection[Path], folder: Path) -> dict[Path, str]:
    """Each path without its suffix, or with it where two would be alike.

    The path is relative to the folder if it lies there, else to the file system's root.
    """
    inner = {path: path.relative_to(folder if path.is_relative_to(folder) else path.anchor) for path in paths}
    plain = {path: storable(inner[path].with_suffix("").as_posix()) for path in paths}
    times = Counter(plain.values())
    return {path: key if times[key] == 1 else storable(inner[path].as_posix()) for path, key in plain.items()}


COLUMNS = ("path", "label", "method", "identity", "split")
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
    rows = _read_rows(table)
    hint = ""
    missing = [row["path"] for path, row in rows.items() if not path.is_file()]
    if missing:
        hint = next((hint for name in missing if (hint := slash_hint(Path(name)))), "")
        log.warning(
            "%s: %d of %d files do not exist: %s%s", table, len(missing), len(rows), few(missing), hint
        )
    if len(missing) == len(rows):
        raise UserError(
            f"{table}: none of its {len(rows)} files exists, such as {missing[0]}{hint}; paths are "
            f"relative to {table.parent}"
        )
    present = [path for path in rows if path.is_file()]
    keys = _unique_keys(present, Path(os.path.abspath(table.parent)))
    videos = []
    for path in present:
        row = rows[path]
        label, method = read_label(row["label"], ""), row["method"]
        people = [name.strip() for name in row["identity"].split(";") if name.strip()]
        videos.append(
            Video(
                key=keys[path],
                path=table.parent / row["path"],
                corpus="csv",
                label=label,
                method="real" if label == REAL else "fake" if method.lower() in ("", "real") else method,
                identities=tuple(p if ":" in p else f"csv:{p}" for p in people) or identities_of(path.stem),
            )
        )
    return Corpus(
        name=table.stem,
        videos=tuple(videos),
        splits={"official": {keys[path]: rows[path]["split"] for path in present}},
        counts=(FolderCount(table.name, len(present), len(rows), tuple(sorted(missing))),),
    )


def _read_rows(table: Path) -> dict[Path, Mapping[str, str]]:
    """Rows by absolute path; a column that the file does not have is empty.

    "." and ".." are resolved in paths, links are not, as their names are the videos' keys.
    """
    columns, lines = read_csv(table)
    names = {name: name.strip().lower() for name in columns}
    if not {"path", "label"} <= set(names.values()):
        raise UserError(f"{table}: its first line must name {CSV_LAYOUT}; it is {','.join(names)}")
    rows: dict[Path, Mapping[str, str]] = {}
    for line, values in lines:
        place = f"{table}, line {line}"
        row = dict.fromkeys(COLUMNS, "") | {names[name]: values[name].strip() for name in names}
        if not row["path"]:
            raise UserError(f"{place}: the path is empty")
        read_label(row["label"], f"{place}: {row['path']}")
        split = row["split"].lower()
        if split and ALIASES.get(split, split) not in SPLITS:
            raise UserError(f"{place}: split {row['split']!r} is none of {', '.join(SPLITS)}")
        path = Path(os.path.abspath(table.parent / row["path"]))
        if path in rows:
            raise UserError(f"{place}: {row['path']} is in line {rows[path]['line']} too")
        rows[path] = row | {"line": str(line), "split": ALIASES.get(split, split)}
    if not rows:
        raise UserError(f"{table}: no rows; expected are {CSV_LAYOUT}")
    without = [row["line"] for row in rows.values() if not row["split"]]
    if 0 < len(without) < len(rows):
        raise UserError(
            f"{table}, line {without[0]}: no split, but {len(rows) - len(without)} of {len(rows)} rows have "
            "one; give a split to all rows or to none"
        )
    return rows
