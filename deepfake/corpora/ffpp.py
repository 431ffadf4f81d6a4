"""FaceForensics++ (Rössler et al., ICCV 2019) as its download script leaves it, or its flat c23 mirror."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from deepfake.corpora import corpus
from deepfake.corpora.corpus import Corpus, Listing, count, list_folder, read_json, wrong_root
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video

log = logging.getLogger(__name__)

DFD = "DeepFakeDetection"
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", DFD)
REALS = ("youtube", "actors")
GRAMMARS = dict.fromkeys(METHODS, corpus.FFPP_FAKE) | {
    "youtube": corpus.FFPP_REAL,
    "actors": corpus.DFD_REAL,
    DFD: corpus.DFD_FAKE,
}
EXPECTED = {"actors": 363, DFD: 3068}  # all others 1000
COMPRESSIONS = {"raw": ("raw", "c0"), "c0": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
LAYOUT = """  <root>/original_sequences/youtube/c23/videos/000.mp4
  <root>/manipulated_sequences/Deepfakes/c23/videos/000_003.mp4
  <root>/manipulated_sequences/Deepfakes/masks/videos/000_003.mp4   (helps, not needed)
  <root>/splits/train.json, val.json, test.json                     (the official split)
or the flat <root>/original/000.mp4, <root>/Deepfakes/000_003.mp4 …"""
OFFICIAL_PAIRS = {"train": 360, "val": 70, "test": 70}
LISTS_ADVICE = (
    "train.json, val.json and test.json (from dataset/splits of the FaceForensics repository) are not all in "
    "{root} or {root}/splits: put them there, or name their folder with data.split_dir"
)


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
    reals = [name for name, used in zip(REALS, (set(methods) != {DFD}, DFD in methods), strict=True) if used]
    listings = {source: _list_source(root, compression, source) for source in (*reals, *methods)}
    num_videos = sum(len(listing.files) for listing in listings.values())
    if not num_videos:
        raise _nothing(root, compression)
    corpus.warn_of_gaps("FaceForensics++", root, listings.values())
    lists = read_lists(root, split_dir, complete=num_videos > 500)
    masks = {}
    for method in methods:
        place = f"manipulated_sequences/{method}/masks/videos"
        masks[method] = list_folder(root, f"{method}/masks", [place], GRAMMARS[method])
    dfd = sum(len(listing.files) for source, listing in listings.items() if source in ("actors", DFD))
    if dfd:
        log.warning("%s has no official split: all its %d videos, real and fake, are in test", DFD, dfd)
    videos = tuple(_videos(listings, masks, "raw" if compression == "c0" else compression, lists.recordings))
    placed = videos if lists.split_of or dfd == num_videos else ()
    splits_of = {
        video.key: {"test" if i.startswith("dfd:") else lists.split_of.get(i) for i in video.identities}
        for video in placed
    }
    names = {"youtube": [f"{number:03}" for number in range(1000)]} | dict.fromkeys(METHODS[:5], lists.fakes)
    return Corpus(
        name=f"ffpp_{'raw' if compression == 'c0' else compression}",
        videos=videos,
        validates=True,
        splits={"official": {key: splits.pop() for key, splits in splits_of.items() if len(splits) == 1}},
        unavailable={"official": LISTS_ADVICE.format(root=root)},
        counts=tuple(
            count(own, EXPECTED.get(source, 1000), names.get(source, ()))
            for source, listing in listings.items()
            for own in (listing, masks.get(source))
            if own is listing or (own and own.path)
        ),
    )


def _list_source(root: Path, compression: str, source: str) -> Listing:
    kind = "original_sequences" if source in REALS else "manipulated_sequences"
    places = []
    for name in COMPRESSIONS[compression]:
        places.append(f"{kind}/{source}/{name}/videos")
        if source == "youtube":
            places.append(f"original_sequences/{name}/videos")  # before September 2019
    if compression == "c23":
        places.append("original" if source == "youtube" else source)  # the flat mirror
    return list_folder(root, f"{source}/{compression}", places, GRAMMARS[source])


def _videos(
    listings: dict[str, Listing], masks: dict[str, Listing], compression: str, recordings: dict[str, str]
) -> Iterator[Video]:
    """A record for each listed file; recordings: YouTube id by identity, where known."""
    for source, listing in listings.items():
        fake, dfd = source in METHODS, source in ("actors", DFD)
        real_source = "actors" if dfd else "youtube"
        reals = listings[real_source].files if real_source in listings else {}
        for stem, path in listing.files.items():
            people = corpus.identities_of(stem)
            target, *scene = stem.split("__")
            real_stem = "__".join([target.split("_")[0], *scene[:1]])
            footage = tuple(recordings[person] for person in people if person in recordings)
            yield Video(
                key=f"{source}/{compression}/{stem}",
                path=path,
                corpus="ffpp",
                label=FAKE if fake else REAL,
                method=source if fake else "real",
                identities=people,
                partner=f"{real_source}/{compression}/{real_stem}" if fake and real_stem in reals else None,
                clip=f"{'dfd' if dfd else 'ffpp'}:{real_stem}",
                footage=footage if len(footage) == len(people) else (),
                mask=masks[source].files.get(stem) if fake else None,
            )


def _nothing(root: Path, compression: str) -> UserError:
    """The error for a root without videos of this compression; it names the compressions that are there."""
    others = [name for name in ("raw", "c23", "c40") if name not in COMPRESSIONS[compression]]
    there = [c for c in others if any(_list_source(root, c, source).files for source in (*REALS, *METHODS))]
    if there:
        return UserError(
            f"data.root={root}: no FaceForensics++ video of compression {compression}, but some of "
            f"{' and '.join(there)}: add data.compression={there[0]}"
        )
    what = f"no FaceForensics++ video of compression {compression} found"
    return wrong_root(root, what, LAYOUT.replace("c23", compression), group="ffpp")


class Lists(NamedTuple):
    """What the lists of FaceForensics++ say, which do not come with its videos; empty where they are not.

    fakes: stems of the fakes of a method. split_of, recordings: split, and YouTube id as "youtube:<id>", by
    identity.
    """

    fakes: list[str]
    split_of: dict[str, str]
    recordings: dict[str, str]


def read_lists(root: Path, split_dir: str | Path | None, *, complete: bool = False) -> Lists:
    """The pair lists of split_dir, or of the first folder with all three, and conversion_dict.json beside.

    complete: the dataset is complete, so that the lists must be as long as the official ones. Raises
    UserError for lists that are malformed, too short, contradict each other, or are not in split_dir.
    """
    below = [root, root / "splits", root / "dataset" / "splits", root / "dataset"]
    folders = [Path(split_dir)] if split_dir else below[:3]
    folder = next((f for f in folders if all((f / f"{name}.json").is_file() for name in SPLITS)), None)
    if split_dir and not folder:
        raise UserError(f"data.split_dir={split_dir}: train.json, val.json and test.json are not all there")
    pairs = {name: _read_pairs(folder / f"{name}.json") for name in SPLITS} if folder else {}
    sizes = {name: len(own) for name, own in pairs.items()}
    if pairs and complete and sizes != OFFICIAL_PAIRS:
        raise UserError(
            f"train.json, val.json, test.json: {sizes} pairs, but the official lists have {OFFICIAL_PAIRS}"
        )
    split_of: dict[str, str] = {}
    for name, number in [(name, number) for name, own in pairs.items() for pair in own for number in pair]:
        if (other := split_of.setdefault(f"ffpp:{number}", name)) != name:
            raise UserError(f"{name}.json: video {number} is in {other}.json too")
    fakes = [f"{x}_{y}" for own in pairs.values() for a, b in own for x, y in ((a, b), (b, a))]
    files = [folder / "conversion_dict.json" for folder in [*folders, *below]]
    file = next((file for file in files if file.is_file()), None)
    entries = read_json(file) if file else {}
    if not isinstance(entries, dict) or not all(isinstance(t, str) and t.split() for t in entries.values()):
        raise UserError(f'{file}: not like {{"000": "<YouTube id> <clip>", …}}')
    recordings = {f"ffpp:{number}": f"youtube:{text.split()[0]}" for number, text in entries.items()}
    return Lists(fakes, split_of, recordings)


def _read_pairs(file: Path) -> list[tuple[str, str]]:
    entries = read_json(file)
    try:
        pairs = [(str(a), str(b)) for a, b in entries]
    except (TypeError, ValueError):
        pairs = []
    if not pairs or not all(re.fullmatch(r"\d{3}", number) for pair in pairs for number in pair):
        raise UserError(f'{file}: not a list of pairs like [["071", "054"], …]')
    return pairs
