"""FaceForensics++ (Rössler et al., ICCV 2019) as its download script leaves it, or its flat c23 mirror."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deepfake.corpora.corpus import (
    DFD_FAKE,
    DFD_REAL,
    FFPP_FAKE,
    FFPP_REAL,
    Corpus,
    FolderCount,
    Listing,
    count,
    identities_of,
    list_folder,
    read_json,
    resolve,
    warn_of_gaps,
    wrong_root,
)
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video

log = logging.getLogger(__name__)

DFD = "DeepFakeDetection"
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", DFD)
REALS = ("youtube", "actors")
GRAMMARS = {"youtube": FFPP_REAL, "actors": DFD_REAL, DFD: DFD_FAKE} | dict.fromkeys(METHODS[:5], FFPP_FAKE)
EXPECTED = {"actors": 363, DFD: 3068}  # all others 1000
COMPRESSIONS = {"raw": ("raw", "c0"), "c0": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
LAYOUT = """  <root>/original_sequences/youtube/c23/videos/000.mp4
  <root>/manipulated_sequences/Deepfakes/c23/videos/000_003.mp4
  <root>/manipulated_sequences/Deepfakes/masks/videos/000_003.mp4   (helps, not needed)
  <root>/splits/train.json, val.json, test.json                     (the official split)
or the flat <root>/original/000.mp4, <root>/Deepfakes/000_003.mp4 …"""


def ffpp_corpus(
    root: str | Path,
    *,
    compression: str = "c23",
    methods: Sequence[str] = METHODS[:4],
    split_dir: str | Path | None = None,
) -> Corpus:
    """The videos of these methods and the real ones, keys "<method, youtube or actors>/<compression>/<stem>".

    There is an official protocol if train.json, val.json and test.json lie in split_dir, root, root/splits or
    root/dataset/splits. DeepFakeDetection, whose real videos show actors, has no official split: all of it is
    test. Methods that are not on disk are omitted with a warning. Raises UserError for an unknown value, and
    if no video is found.
    """
    root = Path(root)
    if not isinstance(compression, str) or compression not in COMPRESSIONS:
        raise UserError(f"data.compression={compression}: must be one of {', '.join(COMPRESSIONS)}")
    methods = [methods] if isinstance(methods, str) else methods
    if not isinstance(methods, list | tuple):
        raise UserError(f"data.methods={methods}: must be a list of {', '.join(METHODS)}")
    if unknown := [str(name) for name in methods if name not in METHODS]:
        raise UserError(f"data.methods: unknown {', '.join(unknown)}; known are {', '.join(METHODS)}")
    sources = [*_real_sources(methods), *methods]
    listings = {source: _listing(root, compression, source) for source in sources}
    if not any(listing.files for listing in listings.values()):
        raise _nothing(root, compression)
    warn_of_gaps("FaceForensics++", root, listings.values())
    videos = tuple(_videos(root, compression, listings, youtube_ids(root, split_dir)))
    pairs = read_pairs(root, split_dir)
    split_of = split_by_number(pairs, complete=len(videos) > 500)
    if dfd := sum(video.identities[0].startswith("dfd:") for video in videos):
        log.warning("%s has no official split: all its %d videos, real and fake, are in test", DFD, dfd)
    splits = {}
    if pairs or len(videos) == dfd:
        table = {video.key: _official_split(video, split_of) for video in videos}
        splits["official"] = {key: split for key, split in table.items() if split}
    return Corpus(
        name=f"ffpp_{'raw' if compression == 'c0' else compression}",
        videos=videos,
        validates=True,
        splits=splits,
        unavailable={} if splits else {"official": LISTS_ADVICE.format(root=root)},
        counts=_counts(root, listings, [pair for own in pairs.values() for pair in own]),
    )


def _videos(
    root: Path, compression: str, listings: dict[str, Listing], recordings: dict[str, str]
) -> Iterator[Video]:
    """A record for each listed file; recordings: YouTube id by identity, where known."""
    compression = "raw" if compression == "c0" else compression
    for source, listing in listings.items():
        fake = source in METHODS
        masks = resolve(root, f"manipulated_sequences/{source}/masks/videos") if fake else None
        real_source = "actors" if source == DFD else "youtube"
        for stem, path in listing.files.items():
            people = identities_of(stem)
            target, *scene = stem.split("__")
            real_stem = "__".join([target.split("_")[0], *scene[:1]])
            has_partner = fake and real_source in listings and real_stem in listings[real_source].files
            mask = masks / f"{stem}.mp4" if masks else None
            known = all(person in recordings for person in people)
            yield Video(
                key=f"{source}/{compression}/{stem}",
                path=path,
                corpus="ffpp",
                label=FAKE if fake else REAL,
                method=source if fake else "real",
                identities=people,
                partner=f"{real_source}/{compression}/{real_stem}" if has_partner else None,
                clip=f"{'dfd' if scene else 'ffpp'}:{real_stem}",
                footage=tuple(recordings[person] for person in people) if known else (),
                mask=mask if mask and mask.is_file() else None,
            )


def _real_sources(methods: Sequence[str]) -> list[str]:
    """The sources of the real videos of these methods; youtube if there are none."""
    youtube = not methods or set(methods) != {DFD}
    return ["youtube"] * youtube + ["actors"] * (DFD in methods)


def _listing(root: Path, compression: str, source: str) -> Listing:
    places = list(_places(compression, source))
    return list_folder(root, f"{source}/{compression}", places, GRAMMARS[source])


def _places(compression: str, source: str) -> Iterator[str]:
    """Folders that may hold the videos of one source, relative to the root."""
    for name in COMPRESSIONS[compression]:
        kind = "original_sequences" if source in REALS else "manipulated_sequences"
        yield f"{kind}/{source}/{name}/videos"
        if source == "youtube":
            yield f"original_sequences/{name}/videos"  # before September 2019
    if compression == "c23":
        yield "original" if source == "youtube" else source  # the flat mirror


def _official_split(video: Video, split_of: dict[str, str]) -> str | None:
    """The split in which the pair lists have all ids of a video; None if it is not one split."""
    if video.identities[0].startswith("dfd:"):
        return "test"
    splits = {split_of.get(person.removeprefix("ffpp:")) for person in video.identities}
    return splits.pop() if len(splits) == 1 else None


def _counts(
    root: Path, listings: dict[str, Listing], pairs: Sequence[tuple[str, str]]
) -> tuple[FolderCount, ...]:
    """Videos and masks of each source, compared with the dataset's numbers."""
    fakes = {f"{a}_{b}" for a, b in pairs} | {f"{b}_{a}" for a, b in pairs}
    counts = []
    for source, listing in listings.items():
        numbers = {f"{number:03}" for number in range(1000)} if source == "youtube" else set()
        names = numbers or (fakes if source in METHODS[:5] else set())
        counts.append(count(listing, EXPECTED.get(source, 1000), names=names))
        place = f"manipulated_sequences/{source}/masks/videos"
        if source in METHODS and resolve(root, place):
            masks = list_folder(root, f"{source}/masks", [place], GRAMMARS[source])
            counts.append(count(masks, EXPECTED.get(source, 1000), names=names))
    return tuple(counts)


def _nothing(root: Path, compression: str) -> UserError:
    """The error for a root without videos of this compression; it names the compressions that are there."""
    if root.is_dir():
        others = [c for c in ("raw", "c23", "c40") if c not in COMPRESSIONS[compression]]
        there = [c for c in others if any(_listing(root, c, source).files for source in (*REALS, *METHODS))]
        if there:
            return UserError(
                f"data.root={root}: no FaceForensics++ video of compression {compression}, but some of "
                f"{' and '.join(there)}: add data.compression={there[0]}"
            )
    what = f"no FaceForensics++ video of compression {compression} found"
    return wrong_root(root, what, LAYOUT.replace("c23", compression), group="ffpp")


# The lists of FaceForensics++, which do not come with its videos: splits and YouTube ids.


OFFICIAL_PAIRS = {"train": 360, "val": 70, "test": 70}
NUMBER = re.compile(r"\d{3}")
LISTS_ADVICE = (
    "train.json, val.json and test.json (from dataset/splits of the FaceForensics repository) are not all in "
    "{root} or {root}/splits: put them there, or name their folder with data.split_dir"
)


def read_pairs(root: Path, split_dir: str | Path | None) -> dict[str, list[tuple[str, str]]]:
    """Pairs of video numbers by split, from the first folder with all three lists; empty if there is none."""
    for folder in _list_folders(root, split_dir):
        files = {name: folder / f"{name}.json" for name in SPLITS}
        if all(file.is_file() for file in files.values()):
            return {name: _pairs(file) for name, file in files.items()}
    if split_dir:
        raise UserError(f"data.split_dir={split_dir}: train.json, val.json and test.json are not all there")
    return {}


def split_by_number(
    pairs: Mapping[str, Sequence[tuple[str, str]]], *, complete: bool = False
) -> dict[str, str]:
    """Split by video number; raises UserError if a number is in two splits.

    complete: the dataset is complete, so that the lists must be as long as the official ones.
    """
    sizes = {name: len(own) for name, own in pairs.items()}
    if pairs and complete and sizes != OFFICIAL_PAIRS:
        raise UserError(
            f"train.json, val.json, test.json: {sizes} pairs, but the official lists have {OFFICIAL_PAIRS}"
        )
    split_of: dict[str, str] = {}
    for name, own in pairs.items():
        for number in (number for pair in own for number in pair):
            if split_of.setdefault(number, name) != name:
                raise UserError(f"{name}.json: video {number} is in {split_of[number]}.json too")
    return split_of


def youtube_ids(root: Path, split_dir: str | Path | None) -> dict[str, str]:
    """ "youtube:<id>" by identity "ffpp:<number>", from conversion_dict.json beside the lists or videos."""
    folders = [*_list_folders(root, split_dir), *_list_folders(root, None), root / "dataset"]
    files = [folder / "conversion_dict.json" for folder in folders]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    entries = read_json(file)
    if not isinstance(entries, dict) or not all(
        isinstance(text, str) and text.split() for text in entries.values()
    ):
        raise UserError(f'{file}: not like {{"000": "<YouTube id> <clip>", …}}')
    return {f"ffpp:{number}": f"youtube:{text.split()[0]}" for number, text in entries.items()}


def _list_folders(root: Path, split_dir: str | Path | None) -> list[Path]:
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
