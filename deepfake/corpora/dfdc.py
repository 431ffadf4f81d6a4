"""DeepFake Detection Challenge (Dolhansky et al., 2020), full or preview, by its metadata."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake.corpora.corpus import Corpus, FolderCount, few, read_csv, read_json, resolve, wrong_root
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, Video

log = logging.getLogger(__name__)

LABELS = {"REAL": REAL, "FAKE": FAKE, "0": REAL, "1": FAKE}
HELD_OUT = {"validation": "val", "test": "test"}
PREVIEW = {"original_videos": 1131, "method_A": 3975, "method_B": 144}
LAYOUT = """  <root>/dfdc_train_part_0/metadata.json, aaqaifqrwn.mp4 …      up to part 49
  <root>/validation/labels.csv (or metadata.json), ….mp4         optional
  <root>/test/labels.csv (or metadata.json), ….mp4               optional
or, the preview, <root>/dataset.json with original_videos/, method_A/, method_B/"""


def dfdc_corpus(root: str | Path) -> Corpus:
    """All videos that are on disk and in the metadata; keys are relative paths without suffix.

    The official protocol of the full dataset needs its test folder; the preview's is in dataset.json. A fake
    and its original are one clip. Nobody's name is known in the full dataset. Raises UserError for metadata
    that cannot be read.
    """
    root = Path(root)
    if (root / "dataset.json").is_file():
        return _preview(root)
    places = [*((folder, "train") for folder in _parts(root))]
    places += [(folder, split) for name, split in HELD_OUT.items() if (folder := resolve(root, name))]
    listed = [(folder, split, _metadata(folder)) for folder, split in places]
    videos = [
        _video(root, folder / name, split, label, original)
        for folder, split, known in listed
        for name, label, original in _present(folder, known)
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
"""Label and original's name of every file that the metadata of a folder name."""


def _parts(root: Path) -> list[Path]:
    """The training folders, also one level deeper as some archives unpack."""
    parts = (
        sorted((path for path in root.glob("dfdc_train_part_*") if path.is_dir()), key=_number)
        if root.is_dir()
        else []
    )
    return [_inner(part) for part in parts]


def _inner(part: Path) -> Path:
    """The same part one level deeper, if it is there: dfdc_train_part_00.zip holds dfdc_train_part_0."""
    below = sorted(path for path in part.glob("dfdc_train_part_*") if path.is_dir())
    return next((path for path in below if _number(path)[0] == _number(part)[0]), part)


def _number(path: Path) -> tuple[int, str]:
    digits = path.name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else 0, path.name)


def _metadata(folder: Path) -> Known:
    """What metadata.json and labels.csv in a folder say, the former first; nothing of an empty folder.

    Raises UserError naming file and entry.
    """
    as_json, as_csv = folder / "metadata.json", folder / "labels.csv"
    known: Known = {}
    if as_csv.is_file():
        rows = list(read_csv(as_csv))
        if rows and not {"filename", "label"} <= set(rows[0]):
            raise UserError(f"{as_csv}: needs a header with the columns filename and label")
        known = {row["filename"]: (_label(as_csv, row["filename"], row["label"]), None) for row in rows}
    if as_json.is_file():
        for name, about in _entries(as_json).items():
            label = _label(as_json, name, about.get("label", about.get("is_fake")))
            known[name] = label, _original(as_json, name, about.get("original"))
    elif not as_csv.is_file() and _files(folder):
        raise UserError(
            f"{folder}: it has neither metadata.json nor labels.csv, so nothing says what is fake in it"
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
        raise UserError(f"{file}: {name} has the original {value!r}, which is no file name")
    return value or None


def _files(folder: Path) -> set[str]:
    """Names of what is in a folder besides its metadata."""
    return {
        name for name in os.listdir(folder) if name[0] != "." and name not in ("metadata.json", "labels.csv")
    }


def _present(folder: Path, known: Known) -> Iterator[tuple[str, int, str | None]]:
    """Name, label and original's name of the files that are there."""
    there = set(os.listdir(folder))
    return ((name, label, original) for name, (label, original) in sorted(known.items()) if name in there)


def _video(root: Path, path: Path, split: str, label: int, original: str | None) -> Video:
    return Video(
        key=path.relative_to(root).with_suffix("").as_posix(),
        path=path,
        corpus="dfdc",
        label=label,
        method="dfdc" if label == FAKE else "real",
        # validation and test do not tell what a fake was made from
        clip=f"dfdc:{Path(original or path).stem}" if split == "train" else None,
        split=split,
    )


def _count(root: Path, folder: Path, known: Known) -> FolderCount:
    there = _files(folder)
    missing, unknown = sorted(set(known) - there), sorted(there - set(known))
    name = folder.relative_to(root).as_posix()
    if missing:
        log.warning("DFDC: %d videos of %s are not on disk: %s", len(missing), name, few(missing))
    if unknown:
        log.warning(
            "DFDC: %d files of %s ignored, its metadata do not name them: %s",
            len(unknown),
            name,
            few(unknown),
        )
    return FolderCount(name, len(set(known) & there), len(known), tuple(missing), tuple(unknown))


def _preview(root: Path) -> Corpus:
    """The preview: people are known by number, and dataset.json says who trains and who tests."""
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
        # a folder below original_videos, method_A or method_B is named after the actor seen
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
    if missing:
        log.warning("DFDC preview: %d videos of dataset.json are not on disk: %s", len(missing), few(missing))
    unknown = [name for folder in PREVIEW for name in _videos_below(root, folder) if name not in entries]
    if unknown:
        log.warning(
            "DFDC preview: %d videos ignored, dataset.json does not name them: %s", len(unknown), few(unknown)
        )
    return Corpus(
        name="dfdc_preview",
        videos=tuple(videos),
        splits={"official": official},
        counts=tuple(
            FolderCount(
                folder,
                sum(video.key.startswith(f"{folder}/") for video in videos),
                expected,
                tuple(name for name in missing if name.startswith(f"{folder}/")),
                tuple(name for name in unknown if name.startswith(f"{folder}/")),
            )
            for folder, expected in PREVIEW.items()
        ),
    )


def _videos_below(root: Path, folder: str) -> list[str]:
    """Paths relative to root of the videos at any depth of a folder."""
    found = (path.relative_to(root) for path in sorted((root / folder).rglob("*.mp4")))
    return [path.as_posix() for path in found if path.name[0] != "."]
