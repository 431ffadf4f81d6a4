"""DeepFake Detection Challenge (Dolhansky et al., 2020), full or preview, by its metadata."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake.corpora.corpus import (
    Corpus,
    FolderCount,
    read_csv,
    read_json,
    resolve,
    warn_of_names,
    wrong_root,
)
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, Video

LABELS = {"REAL": REAL, "FAKE": FAKE, "0": REAL, "1": FAKE}
HELD_OUT = {"validation": "val", "test": "test"}
PREVIEW = {"original_videos": 1131, "method_A": 3975, "method_B": 144}
LAYOUT = """  <root>/dfdc_train_part_0/metadata.json, aaqaifqrwn.mp4 …      parts 0 to 49
  <root>/validation/labels.csv (or metadata.json), ….mp4         optional
  <root>/test/labels.csv (or metadata.json), ….mp4               optional
or, the preview, <root>/dataset.json with original_videos/, method_A/, method_B/"""


def dfdc_corpus(root: str | Path) -> Corpus:
    """All videos that are on disk and in the metadata; keys are relative paths without suffix.

    The official protocol of the full dataset needs its test folder; that of the preview is in dataset.json. A
    fake and its original are one clip. The full dataset does not tell who is in a video. Raises UserError for
    metadata that cannot be read.
    """
    root = Path(root)
    if (root / "dataset.json").is_file():
        return _preview(root)
    places = [*((folder, "train") for folder in _parts(root))]
    places += [(folder, split) for name, split in HELD_OUT.items() if (folder := resolve(root, name))]
    listed = [(folder, split, _metadata(folder)) for folder, split in places]
    videos = [
        _video(root, folder / name, split, *known[name])
        for folder, split, known in listed
        for name in sorted(set(known) & set(os.listdir(folder)))
    ]
    if not videos:
        raise wrong_root(root, "no DFDC video found", LAYOUT, group="dfdc")
    reals = {video.clip: video.key for video in videos if video.clip and video.label == REAL}
    tested = any(video.split == "test" for video in videos)
    return Corpus(
        name="dfdc",
        videos=tuple(
            replace(video, split=None, partner=reals.get(video.clip) if video.label and video.clip else None)
            for video in videos
        ),
        splits={"official": {video.key: str(video.split) for video in videos}} if tested else {},
        unavailable={}
        if tested
        else {"official": f"the test videos with their labels.csv are not in {root / 'test'}"},
        counts=tuple(_count(root, folder, known) for folder, _, known in listed),
    )


Known = dict[str, tuple[int, str | None]]
"""Label and original's name of each file, by its name, from the metadata of a folder."""


def _parts(root: Path) -> list[Path]:
    """The training folders, which some archives unpack one level deeper."""
    parts = sorted((path for path in root.glob("dfdc_train_part_*") if path.is_dir()), key=_number)
    return [_inner(part) for part in parts]


def _inner(part: Path) -> Path:
    """The folder of the same number inside, if any: dfdc_train_part_00.zip contains dfdc_train_part_0."""
    below = sorted(path for path in part.glob("dfdc_train_part_*") if path.is_dir())
    return next((path for path in below if _number(path)[0] == _number(part)[0]), part)


def _number(path: Path) -> tuple[int, str]:
    digits = path.name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else 0, path.name)


def _metadata(folder: Path) -> Known:
    """What metadata.json and labels.csv of a folder say; the former overrides the latter.

    Raises UserError naming file and entry, and for a folder with files but without metadata.
    """
    as_json, as_csv = folder / "metadata.json", folder / "labels.csv"
    known: Known = {}
    if as_csv.is_file():
        columns, rows = read_csv(as_csv)
        if rows and not {"filename", "label"} <= set(columns):
            raise UserError(f"{as_csv}: needs a header with the columns filename and label")
        known = {row["filename"]: (_label(as_csv, row["filename"], row["label"]), None) for _, row in rows}
    if as_json.is_file():
        for name, about in _entries(as_json).items():
            label = _label(as_json, name, about.get("label", about.get("is_fake")))
            known[name] = label, _original(as_json, name, about.get("original"))
    elif not as_csv.is_file() and _files(folder):
        raise UserError(
            f"{folder}: there is neither metadata.json nor labels.csv to tell which videos are fake"
        )
    return known


def _entries(file: Path) -> dict[str, Any]:
    entries = read_json(file)
    if not isinstance(entries, dict) or not all(isinstance(about, dict) for about in entries.values()):
        raise UserError(f'{file}: not like {{"aaqaifqrwn.mp4": {{"label": "FAKE", …}}, …}}')
    return entries


def _label(file: Path, name: str, value: object) -> int:
    text = str(value).upper()
    if text not in LABELS:
        raise UserError(f"{file}: {name} has the label {value!r}, which is none of {', '.join(LABELS)}")
    return LABELS[text]


def _original(file: Path, name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UserError(f"{file}: {name} has the original {value!r}, which is not a file name")
    return value or None


def _files(folder: Path) -> set[str]:
    """Names in a folder, except hidden ones and its metadata."""
    names = set(os.listdir(folder)) - {"metadata.json", "labels.csv"}
    return {name for name in names if name[0] != "."}


def _video(root: Path, path: Path, split: str, label: int, original: str | None) -> Video:
    return Video(
        key=path.relative_to(root).with_suffix("").as_posix(),
        path=path,
        corpus="dfdc",
        label=label,
        method="dfdc" if label == FAKE else "real",
        # the metadata of validation and test do not name a fake's original
        clip=f"dfdc:{Path(original or path).stem}" if split == "train" else None,
        split=split,
    )


def _count(root: Path, folder: Path, known: Known) -> FolderCount:
    there = _files(folder)
    missing, unknown = sorted(set(known) - there), sorted(there - set(known))
    name = folder.relative_to(root).as_posix()
    warn_of_names(f"DFDC: %d videos of {name} are not on disk", missing)
    warn_of_names(f"DFDC: %d files of {name} are ignored, as its metadata do not name them", unknown)
    return FolderCount(name, len(set(known) & there), len(known), tuple(missing), tuple(unknown))


def _preview(root: Path) -> Corpus:
    """The preview, whose dataset.json has the people, by number, and the official split."""
    file = root / "dataset.json"
    videos, official, missing = [], {}, []
    entries = _entries(file)
    for name, about in sorted(entries.items()):
        path = root / name
        if not path.is_file():
            missing.append(name)
            continue
        if len(Path(name).parts) < 3 or Path(name).parts[0] not in PREVIEW:
            raise UserError(f"{file}: {name} is not below an actor's folder of {', '.join(PREVIEW)}")
        split, label = str(about.get("set")), _label(file, name, about.get("label"))
        if split not in ("train", "test"):
            raise UserError(f"{file}: {name} has the set {split!r}, which is none of train, test")
        people = [about.get("target_id"), about.get("swapped_id") if label == FAKE else None]
        # folders below original_videos, method_A and method_B are named after the actor who is seen
        people[0] = people[0] or Path(name).parts[1]
        key = Path(name).with_suffix("").as_posix()
        official[key] = split
        videos.append(
            Video(
                key=key,
                path=path,
                corpus="dfdc",
                label=label,
                method=Path(name).parts[0] if label == FAKE else "real",
                identities=tuple(f"dfdcp:{person}" for person in people if person),
            )
        )
    if not videos:
        raise UserError(f"{file}: none of its {len(missing)} videos is below {root}")
    paths = [path for folder in PREVIEW for path in sorted((root / folder).rglob("*.mp4"))]
    on_disk = [path.relative_to(root).as_posix() for path in paths if path.name[0] != "."]
    unknown = [name for name in on_disk if name not in entries]
    warn_of_names("DFDC preview: %d videos of dataset.json are not on disk", missing)
    warn_of_names("DFDC preview: %d videos are ignored, as dataset.json does not name them", unknown)
    return Corpus(
        name="dfdc_preview",
        videos=tuple(videos),
        splits={"official": official},
        counts=tuple(
            FolderCount(
                folder,
                len(_below(folder, official)),
                expected,
                _below(folder, missing),
                _below(folder, unknown),
            )
            for folder, expected in PREVIEW.items()
        ),
    )


def _below(folder: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith(f"{folder}/"))
