"""Celeb-DF v1 and v2 (Li et al., CVPR 2020), as downloaded or with videos/ folders as in some copies.

A fake idA_idB_NNNN shows clip NNNN of celebrity A with the face of celebrity B. The official list has only
the test videos and marks real ones with 1; labels come from the folders, and the list must agree with them.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from deepfake.corpora.corpus import (
    CELEBDF_FAKE,
    CELEBDF_REAL,
    Corpus,
    Listing,
    count,
    identities_of,
    list_folder,
    read_lines,
    resolve,
    warn_of_gaps,
    warn_of_names,
    wrong_root,
)
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, Video

log = logging.getLogger(__name__)

REAL_FOLDER, YOUTUBE, FAKE_FOLDER = "Celeb-real", "YouTube-real", "Celeb-synthesis"
GRAMMARS = {REAL_FOLDER: CELEBDF_REAL, YOUTUBE: re.compile(r"\d{5}"), FAKE_FOLDER: CELEBDF_FAKE}
LIST = "List_of_testing_videos.txt"
LAYOUT = f"""  <root>/{REAL_FOLDER}/id0_0000.mp4
  <root>/{YOUTUBE}/00000.mp4
  <root>/{FAKE_FOLDER}/id0_id1_0000.mp4
  <root>/{LIST}"""

EXPECTED = {
    "v1": {REAL_FOLDER: 158, YOUTUBE: 250, FAKE_FOLDER: 795, LIST: 100},
    "v2": {REAL_FOLDER: 590, YOUTUBE: 300, FAKE_FOLDER: 5639, LIST: 518},
}
MANY = 600  # more videos than in a small selection of the dataset
V1_IDS = {*range(14), 16, 17}
V2_CLIPS = {11: 11, 12: 7, 13: 16, 16: 14, 25: 11, 42: 5, 44: 6}  # per id; all others have 10
V2_IDS = set(range(62)) - {14, 15, 18}


def celebdf_corpus(root: str | Path) -> Corpus:
    """All videos, keys "<version>/<folder>/<stem>"; the official protocol if the test list lies in root.

    Raises UserError for another dataset, for Celeb-DF++, and for a list that belongs to the other version or
    contradicts the folders.
    """
    root = Path(root)
    _refuse_plus_plus(root)
    listings = {
        name: list_folder(root, name, (name, f"{name}/videos"), grammar) for name, grammar in GRAMMARS.items()
    }
    if not any(listing.files for listing in listings.values()):
        raise wrong_root(root, "no Celeb-DF video found", LAYOUT, group="celebdf")
    warn_of_gaps("Celeb-DF", root, listings.values())
    listed = _read_list(root)
    version = _version(root, listings, listed)
    videos = tuple(_videos(version, listings))
    splits, unavailable = {}, {}
    if listed:
        names = {video.key: video.key.partition("/")[2] for video in videos}
        warn_of_names(f"Celeb-DF: %d videos of {LIST} are not on disk", sorted(listed - {*names.values()}))
        _check_length(root, version, len(listed), len(videos))
        splits["official"] = {key: "test" if name in listed else "train" for key, name in names.items()}
    else:
        unavailable["official"] = f"put {LIST}, which comes with the videos, into {root}"
    return Corpus(
        name=f"celebdf_{version}",
        videos=videos,
        splits=splits,
        unavailable=unavailable,
        counts=tuple(
            count(listing, EXPECTED[version][name], names=_names(version, name, listed), total_known=False)
            for name, listing in listings.items()
        ),
    )


def _refuse_plus_plus(root: Path) -> None:
    """Raise UserError for Celeb-DF++ (2025), which has a folder of fakes for each kind and method."""
    for kind in ("FaceSwap", "FaceReenact", "TalkingFace"):
        if resolve(root, f"{FAKE_FOLDER}/{kind}"):
            raise UserError(
                f"data.root={root}: this is Celeb-DF++ ({FAKE_FOLDER}/{kind}/…), which is not supported: its "
                "methods have protocols of their own. For Celeb-DF v2, name a folder with its fakes directly "
                f"in {FAKE_FOLDER}; here they are in {FAKE_FOLDER}/FaceSwap/Celeb-DF"
            )


def _check_length(root: Path, version: str, num_listed: int, num_videos: int) -> None:
    """Raise UserError for a list that is shorter than the official one beside a large part of the dataset."""
    expected = EXPECTED[version][LIST]
    if num_listed == expected:
        return
    text = f"{root / LIST}: {num_listed} entries, {expected} expected for {version}"
    if num_videos > MANY:
        raise UserError(f"{text}; test videos would be trained on: use the list that came with the videos")
    log.warning("%s", text)


def _videos(version: str, listings: Mapping[str, Listing]) -> Iterator[Video]:
    reals = listings[REAL_FOLDER].files
    for name, listing in listings.items():
        fake = name == FAKE_FOLDER
        for stem, path in listing.files.items():
            clip = "_".join((stem.split("_")[0], stem.split("_")[-1])) if fake else stem
            yield Video(
                key=f"{version}/{name}/{stem}",
                path=path,
                corpus="celebdf",
                label=FAKE if fake else REAL,
                method="Celeb-synthesis" if fake else "real",
                identities=identities_of(stem),
                partner=f"{version}/{REAL_FOLDER}/{clip}" if fake and clip in reals else None,
                clip=None if name == YOUTUBE else f"cdf:{clip}",
            )


def _read_list(root: Path) -> set[str]:
    """The test videos as "<folder>/<stem>"; empty if there is no list."""
    path = next((path for path in sorted(root.iterdir()) if path.name.casefold() == LIST.casefold()), None)
    if path is None:
        return set()
    folders = {name.casefold(): name for name in GRAMMARS}
    listed: set[str] = set()
    for number, line in read_lines(path):
        label, _, entry = line.partition(" ")
        folder, _, file = entry.strip().replace("/videos/", "/").partition("/")
        name, stem = folders.get(folder.casefold()), file.rpartition(".")[0]
        if name is None or label not in ("0", "1") or not GRAMMARS[name].fullmatch(stem):
            raise UserError(
                f"{path}, line {number}: {line!r} is not like '1 Celeb-real/id1_0007.mp4'; use the "
                "list that comes with the videos"
            )
        if int(label) != (name != FAKE_FOLDER):
            raise UserError(
                f"{path}, line {number}: {label} for {entry}, but the official list has 1 for real and 0 for "
                "fake; use the list that comes with the videos"
            )
        listed.add(f"{name}/{stem}")
    return listed


def _version(root: Path, listings: Mapping[str, Listing], listed: set[str]) -> str:
    """v1 or v2, from the names on disk, or from the list if these occur in both versions."""
    by_disk = _version_of({f"{name}/{stem}" for name, listing in listings.items() for stem in listing.files})
    by_list = _version_of(listed) if listed else None
    if by_disk and by_list and by_disk != by_list:
        raise UserError(
            f"data.root={root}: the videos are Celeb-DF {by_disk}, but {LIST} is that of {by_list}; the "
            "versions share names but not splits: use the list that came with these videos"
        )
    return by_disk or by_list or "v2"


def _version_of(names: set[str]) -> str | None:
    """The version that these names belong to, v1 if it has as many videos; None if they occur in both."""
    people = {person for name in names for person in identities_of(name.partition("/")[2])}
    beyond_v1 = any(int(person.removeprefix("cdf:id")) not in V1_IDS for person in people)
    youtube = [int(name.partition("/")[2]) for name in names if name.startswith(YOUTUBE)]
    if beyond_v1 or any(number >= EXPECTED["v1"][YOUTUBE] for number in youtube):
        return "v2"
    sizes = Counter(name.partition("/")[0] for name in names)
    whole = any(sizes[folder] == EXPECTED["v1"][folder] for folder in (REAL_FOLDER, FAKE_FOLDER))
    return "v1" if whole or len(names) > MANY or len(names) == EXPECTED["v1"][LIST] else None


def _names(version: str, folder: str, listed: set[str]) -> set[str]:
    """Stems that are known to be in a complete folder."""
    test = {entry.partition("/")[2] for entry in listed if entry.startswith(folder)}
    if folder == YOUTUBE:
        return {f"{number:05}" for number in range(EXPECTED[version][YOUTUBE])}
    if folder == REAL_FOLDER and version == "v2":
        return test | {f"id{who}_{clip:04}" for who in V2_IDS for clip in range(V2_CLIPS.get(who, 10))}
    return test
