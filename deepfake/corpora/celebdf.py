"""Celeb-DF v1 and v2 (Li et al., CVPR 2020), as downloaded or with videos/ folders as in some copies.

A fake idA_idB_NNNN shows clip NNNN of celebrity A with the face of celebrity B. The official list has only
the test videos and marks real ones with 1; labels come from the folders, and the list must agree with them.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Set
from pathlib import Path

from deepfake.corpora import corpus
from deepfake.corpora.corpus import Corpus, count, identities_of, list_folder, warn_of_names, wrong_root
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, Video

log = logging.getLogger(__name__)

REALS, YOUTUBE, FAKES = "Celeb-real", "YouTube-real", "Celeb-synthesis"
GRAMMARS = {REALS: corpus.CELEBDF_REAL, YOUTUBE: re.compile(r"\d{5}"), FAKES: corpus.CELEBDF_FAKE}
LIST = "List_of_testing_videos.txt"
LAYOUT = f"""  <root>/{REALS}/id0_0000.mp4
  <root>/{YOUTUBE}/00000.mp4
  <root>/{FAKES}/id0_id1_0000.mp4
  <root>/{LIST}"""

EXPECTED = {
    "v1": {REALS: 158, YOUTUBE: 250, FAKES: 795, LIST: 100},
    "v2": {REALS: 590, YOUTUBE: 300, FAKES: 5639, LIST: 518},
}
MANY = 600  # more videos than in a small selection of the dataset
V1_IDS = {*range(14), 16, 17}
V2_CLIPS = dict.fromkeys(set(range(62)) - {14, 15, 18}, 10) | {11: 11, 12: 7, 13: 16, 16: 14}
V2_CLIPS |= {25: 11, 42: 5, 44: 6}


def celebdf_corpus(root: str | Path) -> Corpus:
    """All videos, keys "<version>/<folder>/<stem>"; the official protocol if the test list lies in root.

    Raises UserError for another dataset, for Celeb-DF++, and for a list that belongs to the other version or
    contradicts the folders.
    """
    root = Path(root)
    for kind in ("FaceSwap", "FaceReenact", "TalkingFace"):
        if corpus.resolve(root, f"{FAKES}/{kind}"):
            raise UserError(
                f"data.root={root}: this is Celeb-DF++ ({FAKES}/{kind}/…), which is not supported: its "
                "methods have protocols of their own. For Celeb-DF v2, name a folder with its fakes directly "
                f"in {FAKES}; here they are in {FAKES}/FaceSwap/Celeb-DF"
            )
    listings = {name: list_folder(root, name, (name, f"{name}/videos"), GRAMMARS[name]) for name in GRAMMARS}
    paths = {f"{name}/{stem}": path for name, own in listings.items() for stem, path in own.files.items()}
    if not paths:
        raise wrong_root(root, "no Celeb-DF video found", LAYOUT, group="celebdf")
    corpus.warn_of_gaps("Celeb-DF", root, listings.values())
    listed = _read_list(root)
    warn_of_names(f"Celeb-DF: %d videos of {LIST} are not on disk", sorted(listed - set(paths)))
    version = _version(root, set(paths), listed)
    expected = EXPECTED[version]
    known = listed | {f"{YOUTUBE}/{number:05}" for number in range(expected[YOUTUBE])}
    if version == "v2":
        known |= {f"{REALS}/id{who}_{clip:04}" for who, num in V2_CLIPS.items() for clip in range(num)}
    names = {folder: {n.partition("/")[2] for n in known if n.startswith(folder)} for folder in GRAMMARS}
    return Corpus(
        name=f"celebdf_{version}",
        videos=tuple(_video(version, name, paths) for name in paths),
        splits={"official": {f"{version}/{n}": "test" if n in listed else "train" for n in paths if listed}},
        unavailable={"official": f"put {LIST}, which comes with the videos, into {root}"},
        counts=tuple(
            count(listing, expected[name], names[name], total_known=False)
            for name, listing in listings.items()
        ),
    )


def _video(version: str, name: str, paths: dict[str, Path]) -> Video:
    """The record of "<folder>/<stem>"."""
    folder, _, stem = name.partition("/")
    clip = re.sub(r"_id\d+", "", stem)
    partner = f"{REALS}/{clip}"
    return Video(
        key=f"{version}/{name}",
        path=paths[name],
        corpus="celebdf",
        label=FAKE if folder == FAKES else REAL,
        method=FAKES if folder == FAKES else "real",
        identities=identities_of(stem),
        partner=f"{version}/{partner}" if folder == FAKES and partner in paths else None,
        clip=None if folder == YOUTUBE else f"cdf:{clip}",
    )


def _read_list(root: Path) -> set[str]:
    """The test videos as "<folder>/<stem>"; empty if there is no list."""
    path = next((path for path in sorted(root.iterdir()) if path.name.casefold() == LIST.casefold()), None)
    folders = {name.casefold(): name for name in GRAMMARS}
    listed: set[str] = set()
    for number, line in corpus.read_lines(path) if path else ():
        label, _, entry = line.partition(" ")
        folder, _, file = entry.strip().replace("/videos/", "/").partition("/")
        name, stem = folders.get(folder.casefold()), file.rpartition(".")[0]
        advice = "use the list that comes with the videos"
        if name is None or label not in ("0", "1") or not GRAMMARS[name].fullmatch(stem):
            like = "'1 Celeb-real/id1_0007.mp4'"
            raise UserError(f"{path}, line {number}: {line!r} is not like {like}; {advice}")
        if int(label) != (name != FAKES):
            official = "the official list has 1 for real and 0 for fake"
            raise UserError(f"{path}, line {number}: {label} for {entry}, but {official}; {advice}")
        listed.add(f"{name}/{stem}")
    return listed


def _version(root: Path, names: Set[str], listed: Set[str]) -> str:
    """v1 or v2, from the names on disk, or from the list if these occur in both versions.

    Raises UserError if the list is that of the other version, or is shorter than the official one beside a
    large part of the dataset.
    """
    by_disk, by_list = _version_of(names), _version_of(listed)
    if by_disk and by_list and by_disk != by_list:
        raise UserError(
            f"data.root={root}: the videos are Celeb-DF {by_disk}, but {LIST} is that of {by_list}; the "
            "versions share names but not splits: use the list that came with these videos"
        )
    version = by_disk or by_list or "v2"
    if listed and len(listed) != (expected := EXPECTED[version][LIST]):
        text = f"{root / LIST}: {len(listed)} entries, {expected} expected for {version}"
        if len(names) > MANY:
            raise UserError(
                f"{text}; test videos would be trained on: use the list that came with the videos"
            )
        log.warning("%s", text)
    return version


def _version_of(names: Set[str]) -> str | None:
    """The version that these names belong to, v1 if it has as many videos; None if they occur in both."""
    sizes = Counter(name.partition("/")[0] for name in names)
    v1 = EXPECTED["v1"]
    people = {int(number) for name in names for number in re.findall(r"id(\d+)", name)}
    if people - V1_IDS or any(int(n[-5:]) >= v1[YOUTUBE] for n in names if n.startswith(YOUTUBE)):
        return "v2"
    whole = any(sizes[folder] == v1[folder] for folder in (REALS, FAKES))
    return "v1" if whole or len(names) > MANY or len(names) == v1[LIST] else None
