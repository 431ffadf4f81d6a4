"""DeeperForensics-1.0 (Jiang et al., CVPR 2020): its fakes, and FaceForensics++ c23 for real videos.

A fake TTT_ANNN shows FaceForensics++ video TTT with the face of paid actor ANNN. The download's own
source_videos, filmed in a studio, are the raw material of the face swap and, by its authors, not real videos.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deepfake.corpora import corpus
from deepfake.corpora.corpus import Corpus, count, list_folder, resolve
from deepfake.corpora.ffpp import LISTS_ADVICE, ffpp_corpus, read_lists
from deepfake.errors import UserError
from deepfake.records import FAKE, SPLITS, Video

log = logging.getLogger(__name__)

CLEAN = ("end_to_end", "reenact_postprocess")
PERTURBED = (
    *(f"end_to_end_level_{level}" for level in range(1, 6)),
    "end_to_end_random_level",
    *(f"end_to_end_mix_{num}_distortions" for num in range(2, 5)),
)
VARIANTS = (*CLEAN, *PERTURBED)
NUM_SOURCE_VIDEOS = 48_475
LAYOUT = """  <root>/manipulated_videos/end_to_end/000_M101.mp4
  <root>/lists/splits/train.txt, val.txt, test.txt
and FaceForensics++ c23 for the real videos:
  <ffpp_root>/original_sequences/youtube/c23/videos/000.mp4"""


def deeperforensics_corpus(
    root: str | Path,
    *,
    ffpp_root: str | Path | None,
    variants: Sequence[str] = CLEAN[:1],
    split_dir: str | Path | None = None,
) -> Corpus:
    """Fakes of the variants, keys "<variant>/<stem>", and the real videos "youtube/c23/<stem>".

    Protocols: official (lists in root/lists/splits: 703, 96 and 201 fakes, each real video beside its fake)
    and ffpp (the FaceForensics++ split of the target, whose lists lie in split_dir or ffpp_root). Raises
    UserError if nothing is found, ffpp_root is missing or a variant is unknown.
    """
    root = Path(root)
    variants = list(dict.fromkeys([variants] if isinstance(variants, str) else variants))
    if not variants or (unknown := sorted(set(variants) - set(VARIANTS))):
        wrong = f"unknown {', '.join(unknown)}" if variants else "none named"
        raise UserError(f"data.variants: {wrong}; known are {', '.join(VARIANTS)}")
    listings = {
        variant: list_folder(root, variant, [f"manipulated_videos/{variant}"], corpus.DEEPERFORENSICS_FAKE)
        for variant in VARIANTS
    }
    there = [variant for variant in VARIANTS if listings[variant].files]
    if not there:
        raise corpus.wrong_root(root, "no DeeperForensics video found", LAYOUT, group="deeperforensics")
    if not set(there) & set(variants):
        raise UserError(
            f"data.root={root}: no DeeperForensics video of {', '.join(variants)}, but of "
            f"{', '.join(there)}: add data.variants=[{there[0]}]"
        )
    corpus.warn_of_gaps("DeeperForensics", root, [listings[variant] for variant in variants])
    if perturbed := sorted(set(variants) & set(PERTURBED)):
        log.warning(
            "DeeperForensics: %s are distorted while the real videos are not: a detector may learn the "
            "distortion instead of the manipulation; distort the real videos too, by augmentation",
            corpus.few(perturbed),
        )
    if ffpp_root is None:
        raise UserError(
            "data.ffpp_root: DeeperForensics has no real videos of its own (source_videos are raw material); "
            "its authors use the c23 videos of FaceForensics++: name their folder with data.ffpp_root=/path"
        )
    try:
        real = ffpp_corpus(ffpp_root, methods=(), compression="c23", split_dir=split_dir)
    except UserError as err:
        raise UserError(str(err).replace("data.root", "data.ffpp_root")) from err
    lists = read_lists(Path(ffpp_root), split_dir)
    videos = [replace(video, corpus="deeperforensics") for video in real.videos]
    partners = {video.clip: video.key for video in videos}
    for variant, stem, path in [
        (v, stem, path) for v in variants for stem, path in listings[v].files.items()
    ]:
        target, actor = corpus.identities_of(stem)
        videos.append(
            Video(
                key=f"{variant}/{path.stem}",
                path=path,
                corpus="deeperforensics",
                label=FAKE,
                method=variant,
                identities=(target, actor),
                partner=partners.get(target),
                clip=target,
                footage=(lists.recordings[target],) if target in lists.recordings else (),
            )
        )
    official = _official_splits(root)
    source_videos = resolve(root, "source_videos")
    return Corpus(
        name="deeperforensics",
        videos=tuple(videos),
        validates=True,
        splits={
            # the lists name fakes; the three digits before name the real video
            "official": {video.key: official.get(video.path.stem) for video in videos},
            "ffpp": {video.key: lists.split_of.get(str(video.clip)) for video in videos},
        },
        unavailable={
            "official": "train.txt, val.txt and test.txt, which come with the videos, are not in "
            f"{root / 'lists' / 'splits'}",
            "ffpp": LISTS_ADVICE.format(root=ffpp_root),
        },
        counts=(
            *(count(listings[name], 1000) for name in VARIANTS if name in variants or name in there),
            real.counts[0],
        ),
        unused={source_videos: NUM_SOURCE_VIDEOS} if source_videos else {},
    )


def _official_splits(root: Path) -> dict[str, str]:
    """Split by stem of a fake and by number of its target; empty if the lists are not there.

    Raises UserError for a line that is no file name of this dataset, and for a target in two splits.
    """
    folder = resolve(root, "lists/splits") or resolve(root, "splits")
    files = {name: folder / f"{name}.txt" for name in SPLITS} if folder else {}
    split_of: dict[str, str] = {}
    for name, file in files.items() if all(file.is_file() for file in files.values()) else ():
        for number, line in corpus.read_lines(file):
            stem = line.rpartition("/")[2].partition(".")[0]
            if not corpus.DEEPERFORENSICS_FAKE.fullmatch(stem):
                raise UserError(f"{file}, line {number}: {line!r} is not like 000_M101.mp4")
            for key in (stem, stem[:3]):
                if split_of.setdefault(key, name) != name:
                    raise UserError(f"{file}, line {number}: {key} is in {split_of[key]}.txt too")
    return split_of
