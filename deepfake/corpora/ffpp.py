"""FaceForensics++ (Rössler et al., ICCV 2019) as its download script leaves it, or its flat c23 mirror."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake.corpora.names import DFD_FAKE, DFD_REAL, FFPP_FAKE, FFPP_REAL, identities_of
from deepfake.corpora.splits import describe_split, split_by_group
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video

log = logging.getLogger(__name__)

DFD = "DeepFakeDetection"
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", DFD)
GRAMMARS = {"youtube": FFPP_REAL, "actors": DFD_REAL, DFD: DFD_FAKE} | dict.fromkeys(METHODS[:5], FFPP_FAKE)
COMPRESSIONS = {"raw": ("raw", "c0"), "c0": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}


def ffpp_videos(
    root: str | Path,
    *,
    compression: str = "c23",
    methods: Sequence[str] = METHODS[:4],
    split_dir: str | Path | None = None,
    split_seed: int = 0,
) -> list[Video]:
    """Real videos and those of the methods, sorted by key "<method, youtube or actors>/<compression>/<stem>".

    The official split where train.json, val.json and test.json lie in split_dir, root, root/splits or
    root/dataset/splits; else a seeded one over groups that share a person, with a notice. DeepFakeDetection,
    with the videos of actors for real ones, has no official split and is all test. Methods that are not on
    disk are named and left out. Raises UserError if nothing is found or a value is unknown.
    """
    root = Path(root)
    if compression not in COMPRESSIONS:
        raise UserError(f"data.compression={compression}: must be one of {', '.join(COMPRESSIONS)}")
    if unknown := sorted(set(methods) - set(METHODS)):
        raise UserError(f"data.methods: unknown {', '.join(unknown)}; known are {', '.join(METHODS)}")
    footage = _conversion(root, split_dir)
    videos = [
        _video(path, compression, source, footage)
        for source in (*_real_sources(methods), *methods)
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
    dfd = [replace(video, split="test") for video in videos if video.identities[0].startswith("dfd:")]
    rest = [video for video in videos if not video.identities[0].startswith("dfd:")]
    if dfd:
        log.warning("%s has no official split: all its %d videos, real and fake, are in test", DFD, len(dfd))
    if rest:
        rest = _official(rest, lists) if lists else _seeded(rest, root, split_seed)
    return sorted([*rest, *dfd], key=lambda video: video.key)


def _real_sources(methods: Sequence[str]) -> list[str]:
    """Where the real videos of these methods are; youtube if there are no methods."""
    youtube = not methods or set(methods) != {DFD}
    return ["youtube"] * youtube + ["actors"] * (DFD in methods)


def _folders(root: Path, compression: str, source: str) -> Iterator[Path]:
    """Where the videos of one source may lie."""
    for name in COMPRESSIONS[compression]:
        if source in ("youtube", "actors"):
            yield root / "original_sequences" / source / name / "videos"
        else:
            yield root / "manipulated_sequences" / source / name / "videos"
        if source == "youtube":
            yield root / "original_sequences" / name / "videos"  # before September 2019
    if compression == "c23":
        yield root / ("original" if source == "youtube" else source)  # the flat mirror


def _files(root: Path, compression: str, source: str) -> Iterator[Path]:
    """The videos of one source, of the first of its folders that has any."""
    folders = _folders(root, compression, source)
    folder = next((folder for folder in folders if any(folder.glob("*.mp4"))), None)
    if folder is None:
        log.warning("FaceForensics++: no %s videos of compression %s in %s", source, compression, root)
        return
    foreign = 0
    for path in sorted(folder.iterdir()):
        if path.suffix == ".mp4" and GRAMMARS[source].fullmatch(path.stem):
            yield path
        else:
            foreign += path.is_file()
    if foreign:
        log.warning("%s: %d files ignored, not named like FaceForensics++ videos", folder, foreign)


def _video(path: Path, compression: str, source: str, footage: dict[str, str]) -> Video:
    """One record; footage: YouTube id by identity, where known."""
    fake = source in METHODS
    people = identities_of(path.stem)
    target, *scene = path.stem.split("__")
    real_stem = "__".join([target.split("_")[0], *scene[:1]])
    return Video(
        key=f"{source}/{compression}/{path.stem}",
        path=path,
        corpus="ffpp",
        label=FAKE if fake else REAL,
        method=source if fake else "real",
        identities=(*people, *(f"youtube:{footage[person]}" for person in people if person in footage)),
        partner=f"{'actors' if source == DFD else 'youtube'}/{compression}/{real_stem}" if fake else None,
    )


def _places(root: Path, split_dir: str | Path | None) -> list[Path]:
    return [Path(split_dir)] if split_dir else [root, root / "splits", root / "dataset" / "splits"]


def _split_lists(root: Path, split_dir: str | Path | None) -> dict[str, str]:
    """Split by video id from the official pair lists; empty if they are not there."""
    for place in _places(root, split_dir):
        files = {name: place / f"{name}.json" for name in SPLITS}
        if all(file.is_file() for file in files.values()):
            return {
                number: name for name, file in files.items() for pair in _read_json(file) for number in pair
            }
    if split_dir:
        raise UserError(f"data.split_dir={split_dir}: train.json, val.json and test.json are not all in it")
    return {}


def _conversion(root: Path, split_dir: str | Path | None) -> dict[str, str]:
    """YouTube id by identity, from conversion_dict.json beside the split lists or above them."""
    for place in _places(root, split_dir):
        for file in (place / "conversion_dict.json", place.parent / "conversion_dict.json"):
            if file.is_file():
                return {f"ffpp:{number}": text.split()[0] for number, text in _read_json(file).items()}
    return {}


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as err:
        raise UserError(f"{file}: not readable as JSON ({err}); download it again or take it away") from err


def _official(videos: Sequence[Video], split_of: dict[str, str]) -> list[Video]:
    """Videos whose ids the lists put into one split; others are left out and counted, never guessed."""
    kept, left_out = [], []
    for video in videos:
        splits = {split_of.get(number) for number in video.path.stem.split("_")}
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
    return kept


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
