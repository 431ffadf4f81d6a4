"""DeepFake Detection Challenge (Dolhansky et al., 2020), full or preview, by its metadata."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake.corpora import corpus
from deepfake.corpora.corpus import Corpus, FolderCount, read_json, read_label, warn_of_names
from deepfake.errors import UserError
from deepfake.io import walk_files
from deepfake.records import FAKE, REAL, Video

log = logging.getLogger(__name__)

PART = re.compile(r"dfdc_train_part_(\d+)")
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
    folders = dict.fromkeys(_parts(root), "train")
    folders |= {folder: split for name, split in HELD_OUT.items() if (folder := corpus.resolve(root, name))}
    videos, counts, split_of = [], [], {}
    for folder, split in folders.items():
        known, there = _metadata(folder), _files(folder)
        for name in sorted(set(known) & there):
            label, original = known[name]
            key = (folder / name).relative_to(root).with_suffix("").as_posix()
            split_of[key] = split
            videos.append(
                Video(
                    key=key,
                    path=folder / name,
                    corpus="dfdc",
                    label=label,
                    method="dfdc" if label == FAKE else "real",
                    # the metadata of validation and test do not name a fake's original
                    clip=f"dfdc:{Path(original or name).stem}" if split == "train" else None,
                )
            )
        missing, unknown = sorted(set(known) - there), sorted(there - set(known))
        place = folder.relative_to(root).as_posix()
        warn_of_names(f"DFDC: %d videos of {place} are not on disk", missing)
        warn_of_names(f"DFDC: %d files of {place} are ignored, as its metadata do not name them", unknown)
        present = len(set(known) & there)
        counts.append(FolderCount(place, present, len(known), tuple(missing), tuple(unknown)))
    if hint := _other_names(root, folders):
        log.warning("data.root=%s: %s", root, hint)
    if not videos and hint:
        raise UserError(f"data.root={root}: no DFDC video found, but {hint}")
    if not videos:
        raise corpus.wrong_root(root, "no DFDC video found", LAYOUT, group="dfdc")
    reals = {video.clip: video.key for video in videos if video.label == REAL}
    return Corpus(
        name="dfdc",
        videos=tuple(
            replace(v, partner=reals.get(v.clip) if v.clip and v.label == FAKE else None) for v in videos
        ),
        splits={"official": split_of if "test" in split_of.values() else {}},
        unavailable={"official": f"the test videos with their labels.csv are not in {root / 'test'}"},
        counts=tuple(counts),
    )


def _parts(root: Path) -> list[Path]:
    """The training folders by number, or the folder of the same number inside one, if any.

    Some archives unpack one level deeper: dfdc_train_part_00.zip contains dfdc_train_part_0.
    """

    def numbered(folder: Path) -> list[tuple[int, Path]]:
        paths = sorted(path for path in folder.glob("dfdc_train_part_*") if path.is_dir())
        digits = [path.name.rpartition("_")[2] for path in paths]
        return sorted((int(d) if d.isdigit() else 0, path) for d, path in zip(digits, paths, strict=True))

    return [dict(reversed(numbered(part))).get(number, part) for number, part in numbered(root)]


def _other_names(root: Path, known: Collection[Path]) -> str:
    """What to do about folders with a part's metadata whose names are not those of parts; empty if none."""
    if not root.is_dir():
        return ""
    if (root / "metadata.json").is_file():
        if PART.fullmatch(root.resolve().name):
            return f"this is one part of it: name the folder that holds it, {root.resolve().parent}"
        return (
            "a part's metadata.json lies directly in it: make a folder with this one in it, named "
            "dfdc_train_part_0, and name that folder"
        )
    below = [path for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] != "."]
    others = [path.name for path in below if path not in known and (path / "metadata.json").is_file()]
    if not others:
        return ""
    numbers = {int(found[1]) for path in below if (found := PART.fullmatch(path.name))}
    free = next(number for number in range(len(numbers) + 1) if number not in numbers)
    return (
        f"{corpus.few(others)} {'have' if len(others) > 1 else 'has'} the metadata.json of a part but "
        f"not its name: rename it, for example `mv {root / others[0]} {root / f'dfdc_train_part_{free}'}`"
    )


def _metadata(folder: Path) -> dict[str, tuple[int, str | None]]:
    """Label and original's name of each file, from metadata.json, which overrides labels.csv.

    Raises UserError naming file and entry, and for a folder with files but without metadata.
    """
    as_json, as_csv = folder / "metadata.json", folder / "labels.csv"
    known: dict[str, tuple[int, str | None]] = {}
    if as_csv.is_file():
        columns, rows = corpus.read_csv(as_csv)
        if rows and not {"filename", "label"} <= set(columns):
            raise UserError(f"{as_csv}: needs a header with the columns filename and label")
        names = {row["filename"]: row["label"] for _, row in rows}
        known = {name: (read_label(label, f"{as_csv}: {name}"), None) for name, label in names.items()}
    if as_json.is_file():
        for name, about in _read_entries(as_json).items():
            original = about.get("original")
            if not isinstance(original, str | None):
                raise UserError(f"{as_json}: {name} has the original {original!r}, which is not a file name")
            label = read_label(about.get("label", about.get("is_fake")), f"{as_json}: {name}")
            known[name] = label, original or None
    elif not as_csv.is_file() and _files(folder):
        raise UserError(
            f"{folder}: there is neither metadata.json nor labels.csv to tell which videos are fake"
        )
    return known


def _read_entries(file: Path) -> dict[str, dict[str, Any]]:
    entries = read_json(file)
    if not isinstance(entries, dict) or not all(isinstance(about, dict) for about in entries.values()):
        raise UserError(f'{file}: not like {{"aaqaifqrwn.mp4": {{"label": "FAKE", …}}, …}}')
    return entries


def _files(folder: Path) -> set[str]:
    """Names in a folder, except hidden ones and its metadata."""
    names = set(os.listdir(folder)) - {"metadata.json", "labels.csv"}
    return {name for name in names if name[0] != "."}


def _preview(root: Path) -> Corpus:
    """The preview, whose dataset.json has the people, by number, and the official split."""
    file = root / "dataset.json"
    entries = _read_entries(file)
    videos, official = [], {}
    missing = [name for name in sorted(entries) if not (root / name).is_file()]
    for name in sorted(set(entries) - set(missing)):
        about, (folder, *below) = entries[name], Path(name).parts
        if len(below) < 2 or folder not in PREVIEW:
            raise UserError(f"{file}: {name} is not below an actor's folder of {', '.join(PREVIEW)}")
        split, label = str(about.get("set")), read_label(about.get("label"), f"{file}: {name}")
        if split not in ("train", "test"):
            raise UserError(f"{file}: {name} has the set {split!r}, which is none of train, test")
        # folders below original_videos, method_A and method_B are named after the actor who is seen
        people = [about.get("target_id") or below[0], about.get("swapped_id") if label == FAKE else None]
        key = Path(name).with_suffix("").as_posix()
        official[key] = split
        videos.append(
            Video(
                key=key,
                path=root / name,
                corpus="dfdc",
                label=label,
                method=folder if label == FAKE else "real",
                identities=tuple(f"dfdcp:{person}" for person in people if person),
            )
        )
    if not videos:
        raise UserError(f"{file}: none of its {len(missing)} videos is below {root}")
    paths = [path for folder in PREVIEW for path in sorted(walk_files(root / folder, upwards=False))]
    on_disk = [path.relative_to(root).as_posix() for path in paths if path.suffix == ".mp4"]
    unknown = [name for name in on_disk if name not in entries]
    warn_of_names("DFDC preview: %d videos of dataset.json are not on disk", missing)
    warn_of_names("DFDC preview: %d videos are ignored, as dataset.json does not name them", unknown)
    counts = []
    for folder, expected in PREVIEW.items():
        names = [[n for n in names if n.startswith(f"{folder}/")] for names in (official, missing, unknown)]
        counts.append(FolderCount(folder, len(names[0]), expected, tuple(names[1]), tuple(names[2])))
    return Corpus(
        name="dfdc_preview", videos=tuple(videos), splits={"official": official}, counts=tuple(counts)
    )
