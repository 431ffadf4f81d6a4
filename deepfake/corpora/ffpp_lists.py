"""The lists that belong to FaceForensics++ but do not come with its videos: splits and YouTube ids."""

from __future__ import annotations

import re
from pathlib import Path

from deepfake.corpora.texts import read_json
from deepfake.errors import UserError
from deepfake.records import SPLITS

OFFICIAL_PAIRS = {"train": 360, "val": 70, "test": 70}
NUMBER = re.compile(r"\d{3}")
LISTS_ADVICE = (
    "train.json, val.json and test.json (from dataset/splits of the FaceForensics repository) are not all in "
    "{root} or {root}/splits: put them there, or name their folder with data.split_dir"
)


def official_pairs(root: Path, split_dir: str | Path | None) -> list[tuple[str, str]]:
    """The 500 pairs of video numbers of all three lists; empty if the lists are not there."""
    return [pair for pairs in _lists(root, split_dir).values() for pair in pairs]


def official_splits(root: Path, split_dir: str | Path | None, *, whole: bool = False) -> dict[str, str]:
    """Split by video number; empty if the lists are not there. Raises UserError if a number is in two.

    whole: the lists must be as long as the official ones, since the dataset is.
    """
    split_of: dict[str, str] = {}
    lists = _lists(root, split_dir)
    sizes = {name: len(pairs) for name, pairs in lists.items()}
    if lists and whole and sizes != OFFICIAL_PAIRS:
        raise UserError(
            f"train.json, val.json, test.json: {sizes} pairs, but the official lists have {OFFICIAL_PAIRS}"
        )
    for name, pairs in lists.items():
        for number in (number for pair in pairs for number in pair):
            if split_of.setdefault(number, name) != name:
                raise UserError(f"{name}.json: video {number} is in {split_of[number]}.json too")
    return split_of


def youtube_ids(root: Path, split_dir: str | Path | None) -> dict[str, str]:
    """ "youtube:<id>" by identity "ffpp:<number>", from conversion_dict.json by the lists or videos."""
    places = [*_places(root, split_dir), *_places(root, None), root / "dataset"]
    files = (place / "conversion_dict.json" for place in places)
    return next((_youtube_ids(file) for file in files if file.is_file()), {})


def _youtube_ids(file: Path) -> dict[str, str]:
    entries = read_json(file)
    if not isinstance(entries, dict) or not all(
        isinstance(text, str) and text.split() for text in entries.values()
    ):
        raise UserError(f'{file}: not like {{"000": "<YouTube id> <clip>", …}}')
    return {f"ffpp:{number}": f"youtube:{text.split()[0]}" for number, text in entries.items()}


def _lists(root: Path, split_dir: str | Path | None) -> dict[str, list[tuple[str, str]]]:
    """Pairs by split, from the first place that has all three lists."""
    for place in _places(root, split_dir):
        files = {name: place / f"{name}.json" for name in SPLITS}
        if all(file.is_file() for file in files.values()):
            return {name: _pairs(file) for name, file in files.items()}
    if split_dir:
        raise UserError(f"data.split_dir={split_dir}: train.json, val.json and test.json are not all in it")
    return {}


def _places(root: Path, split_dir: str | Path | None) -> list[Path]:
    return [Path(split_dir)] if split_dir else [root, root / "splits", root / "dataset" / "splits"]


def _pairs(file: Path) -> list[tuple[str, str]]:
    entries = read_json(file)
    try:
        pairs = [(str(a), str(b)) for a, b in entries]
    except (TypeError, ValueError):
        pairs = []
    if not pairs or not all(NUMBER.fullmatch(number) for pair in pairs for number in pair):
        raise UserError(f'{file}: not a list of pairs like [["071", "054"], …]')
    return pairs
