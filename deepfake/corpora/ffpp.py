"""FaceForensics++ (Rössler et al., ICCV 2019) as its download script leaves it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from deepfake.corpora.names import FFPP_FAKE, FFPP_REAL
from deepfake.corpora.splits import describe_split, split_by_group
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video

log = logging.getLogger(__name__)

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
COMPRESSIONS = {"raw": ("raw", "c0"), "c0": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}


def ffpp_videos(
    root: str | Path,
    *,
    compression: str = "c23",
    methods: Sequence[str] = METHODS[:4],
    split_dir: str | Path | None = None,
    split_seed: int = 0,
) -> list[Video]:
    """Real videos and those of the methods, sorted by key "<method or youtube>/<compression>/<stem>".

    The official split where train.json, val.json and test.json lie in split_dir, root, root/splits or
    root/dataset/splits; else a seeded one over groups that share a person, with a notice. Methods that are
    not on disk are named and left out. Raises UserError if nothing is found or a value is unknown.
    """
    root = Path(root)
    if compression not in COMPRESSIONS:
        raise UserError(f"data.compression={compression}: must be one of {', '.join(COMPRESSIONS)}")
    if unknown := sorted(set(methods) - set(METHODS)):
        raise UserError(f"data.methods: unknown {', '.join(unknown)}; known are {', '.join(METHODS)}")
    footage = _conversion(root, split_dir)
    videos = [
        _video(path, compression, source, footage)
        for source in ("youtube", *methods)
        for path in _files(root, compression, source)
    ]
    real = {video.key for video in videos if video.label == REAL}
    videos = [v if v.partner is None or v.partner in real else replace(v, partner=None) for v in videos]
    if not videos:
        raise UserError(
            f"data.root={root}: no FaceForensics++ video of compression {compression} found, for example in "
            f"{root / 'original_sequences' / 'youtube' / compression / 'videos'}; check the path and "
            "data.compression"
        )
    lists = _split_lists(root, split_dir)
    return _official(videos, lists) if lists else _seeded(videos, root, split_seed)


def _files(root: Path, compression: str, source: str) -> Iterator[Path]:
    """The videos of one source, of the first of its known folders that exists."""
    folders = [
        folder
        for name in COMPRESSIONS[compression]
        for folder in (
            [root / "original_sequences" / "youtube" / name, root / "original_sequences" / name]
            if source == "youtube"
            else [root / "manipulated_sequences" / source / name]
        )
    ]
    folder = next((folder / "videos" for folder in folders if (folder / "videos").is_dir()), None)
    if folder is None:
        log.warning("FaceForensics++: no %s videos of compression %s in %s", source, compression, root)
        return
    grammar: re.Pattern[str] = FFPP_REAL if source == "youtube" else FFPP_FAKE
    foreign = 0
    for path in sorted(folder.iterdir()):
        if path.suffix == ".mp4" and grammar.fullmatch(path.stem):
            yield path
        else:
            foreign += path.is_file()
    if foreign:
        log.warning("%s: %d files ignored, not named like FaceForensics++ videos", folder, foreign)


def _video(path: Path, compression: str, source: str, footage: dict[str, str]) -> Video:
    """One record; footage: YouTube id of a video id, where known."""
    ids = path.stem.split("_")  # target, then source of a fake
    fake = source != "youtube"
    people = [f"ffpp:{number}" for number in ids]
    return Video(
        key=f"{source}/{compression}/{path.stem}",
        path=path,
        corpus="ffpp",
        label=FAKE if fake else REAL,
        method=source if fake else "real",
        identities=(*people, *(f"youtube:{footage[number]}" for number in ids if number in footage)),
        partner=f"youtube/{compression}/{ids[0]}" if fake else None,
    )


def _places(root: Path, split_dir: str | Path | None) -> list[Path]:
    return [Path(split_dir)] if split_dir else [root, root / "splits", root / "dataset" / "splits"]


def _split_lists(root: Path, split_dir: str | Path | None) -> dict[str, str]:
    """Split by video id from the official pair lists; empty if they are not there."""
    for place in _places(root, split_dir):
        files = {name: place / f"{name}.json" for name in SPLITS}
        if all(file.is_file() for file in files.values()):
            return {
                number: name
                for name, file in files.items()
                for pair in json.loads(file.read_text())
                for number in pair
            }
    if split_dir:
        raise UserError(f"data.split_dir={split_dir}: train.json, val.json and test.json are not all in it")
    return {}


def _conversion(root: Path, split_dir: str | Path | None) -> dict[str, str]:
    """YouTube id by video id, from conversion_dict.json beside the split lists or above them."""
    for place in _places(root, split_dir):
        for file in (place / "conversion_dict.json", place.parent / "conversion_dict.json"):
            if file.is_file():
                return {number: text.split()[0] for number, text in json.loads(file.read_text()).items()}
    return {}


def _official(videos: Sequence[Video], split_of: dict[str, str]) -> list[Video]:
    """Videos whose ids the lists put into one split; others are left out and counted, never guessed."""
    kept, left_out = [], []
    for video in videos:
        splits = {split_of.get(number) for number in video.key.rpartition("/")[2].split("_")}
        if len(splits) == 1 and (split := splits.pop()) is not None:
            kept.append(replace(video, split=split))
        else:
            left_out.append(video.key)
    if left_out:
        log.warning(
            "FaceForensics++: %d videos left out, their ids are in no split or in two: %s …",
            len(left_out),
            ", ".join(left_out[:3]),
        )
    log.info("FaceForensics++, official split: %s", describe_split(kept))
    return sorted(kept, key=lambda video: video.key)


def _seeded(videos: Sequence[Video], root: Path, seed: int) -> list[Video]:
    split = split_by_group(videos, seed=seed)
    log.warning(
        "FaceForensics++: no train.json, val.json and test.json in %s or its folder splits, so this is NOT "
        "the official split: %d videos are split by groups that share a person, data.split_seed=%d: %s",
        root,
        len(videos),
        seed,
        describe_split(split),
    )
    return split
