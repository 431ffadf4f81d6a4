"""How much of the test videos was seen in training: people, pairs of people, clips and recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deepfake.records import FAKE, REAL, SPLITS, Video


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a set of videos shows, as names; small enough to travel in a checkpoint.

    pairs: (target, source) of fakes as "target>source". real_clips, fake_clips: clips of real and of fake
    videos. unnamed: videos without known identities and clip, as "<corpus>/<key>".
    """

    identities: frozenset[str]
    pairs: frozenset[str]
    real_clips: frozenset[str]
    fake_clips: frozenset[str]
    footage: frozenset[str]
    unnamed: frozenset[str]

    @classmethod
    def of(cls, videos: Sequence[Video]) -> Footprint:
        """What these videos show."""
        return cls(
            frozenset(person for video in videos for person in video.identities),
            frozenset(pair for video in videos if (pair := pair_of(video))),
            frozenset(video.clip for video in videos if video.clip and video.label == REAL),
            frozenset(video.clip for video in videos if video.clip and video.label == FAKE),
            frozenset(recording for video in videos for recording in video.footage),
            frozenset(
                f"{video.corpus}/{video.key}" for video in videos if not video.identities and not video.clip
            ),
        )

    def __or__(self, other: Footprint) -> Footprint:
        ours, theirs = self.to_dict(), other.to_dict()
        return Footprint.from_dict({name: {*ours[name], *theirs[name]} for name in ours})

    def to_dict(self) -> dict[str, list[str]]:
        """Sorted lists, fit for JSON and for a checkpoint."""
        return {name: sorted(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Iterable[str]]) -> Footprint:
        """Inverse of to_dict."""
        return cls(**{name: frozenset(members) for name, members in values.items()})


def pair_of(video: Video) -> str | None:
    """The ordered pair of a fake's target and source, if both are known."""
    return ">".join(video.identities[:2]) if video.label == FAKE and len(video.identities) > 1 else None


@dataclass(frozen=True, slots=True)
class Share:
    """The number of shared names, and of all; examples: the first shared names."""

    shared: int
    of: int
    examples: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """In [0, 1]; None if there are no names."""
        return self.shared / self.of if self.of else None


MEASURES = {
    "identities": "people",
    "ordered_pairs": "fakes whose (target, source) pair was seen",
    "target_clips": "fakes whose target's real video was seen",
    "real_clips": "real videos of which a fake was seen",
    "clips": "clips",
    "footage": "recordings",
    "unnamed": "videos themselves, of those without known people and clip",
}
"""What is counted, in words for reports."""


Overlaps = Mapping[str, Mapping[str, Share]]
"""Shares by measure, by comparison such as "test in train"."""


def overlap(seen: Footprint, videos: Sequence[Video]) -> dict[str, Share]:
    """How much of some held-out videos was seen, by name of the MEASURES.

    identities, clips, footage and unnamed count distinct names; ordered_pairs and target_clips count fakes,
    and real_clips real videos, whose pair or clip is known.
    """
    own = Footprint.of(videos)
    fakes, reals = ([v for v in videos if v.label == label] for label in (FAKE, REAL))

    def share(names: Iterable[tuple[str, str | None]], seen: frozenset[str]) -> Share:
        known = [(key, name) for key, name in names if name is not None]
        shared = [key for key, name in known if name in seen]
        return Share(len(shared), len(known), tuple(shared[:5]))

    def distinct(own: frozenset[str], seen: frozenset[str]) -> Share:
        return share([(name, name) for name in sorted(own)], seen)

    return {
        "identities": distinct(own.identities, seen.identities),
        "ordered_pairs": share([(v.key, pair_of(v)) for v in fakes], seen.pairs),
        "target_clips": share([(v.key, v.clip) for v in fakes], seen.real_clips),
        "real_clips": share([(v.key, v.clip) for v in reals], seen.fake_clips),
        "clips": distinct(own.real_clips | own.fake_clips, seen.real_clips | seen.fake_clips),
        "footage": distinct(own.footage, seen.footage),
        "unnamed": distinct(own.unnamed, seen.unnamed),
    }


def audit(videos: Sequence[Video]) -> dict[str, dict[str, Share]]:
    """The overlaps of a protocol's splits: test with train and val together, and each pair of splits."""
    parts = {name: [v for v in videos if v.split == name] for name in SPLITS}
    seen = {name: Footprint.of(part) for name, part in parts.items()}
    return {
        "test in train+val": overlap(seen["train"] | seen["val"], parts["test"]),
        "test in train": overlap(seen["train"], parts["test"]),
        "val in train": overlap(seen["train"], parts["val"]),
    }


def leaks(overlaps: Overlaps) -> list[str]:
    """One phrase for each measure of which something is shared, in the order of the overlaps."""
    return [
        f"{place}: {share.shared} of {share.of} {MEASURES[name]}"
        for place, shares in overlaps.items()
        for name, share in shares.items()
        if share.shared
    ]


def to_json(overlaps: Overlaps) -> dict[str, Any]:
    """Plain values: {comparison: {measure: {shared, of, share, examples}}}."""
    return {
        place: {name: {**asdict(share), "share": share.share} for name, share in shares.items()}
        for place, shares in overlaps.items()
    }
