"""Splits that no person crosses, where a corpus brings none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake.errors import UserError
from deepfake.records import SPLITS, Video

SHARES: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}


def group_videos(videos: Sequence[Video]) -> list[int]:
    """For each video the number of its group: videos that share a person or a real partner, also by way of
    others, are one group. A video of nobody known is a group of its own.
    """
    names: dict[str, int] = {}
    edges = []
    for place, video in enumerate(videos):
        links = [
            *video.identities,
            f"video {video.key}",
            *([f"video {video.partner}"] if video.partner else []),
        ]
        edges += [(place, names.setdefault(link, len(videos) + len(names))) for link in links]
    size = len(videos) + len(names)
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    _, groups = connected_components(coo_array((np.ones(len(edges)), (rows, columns)), shape=(size, size)))
    return groups[: len(videos)].tolist()


def split_by_group(
    videos: Sequence[Video], *, seed: int, shares: Mapping[str, float] = SHARES
) -> list[Video]:
    """The videos with splits that no group crosses, about in these shares of each class.

    A function of the set of videos and the seed, not of their order. Large groups are placed first, each
    where its classes are missing most. Raises UserError if there are fewer groups than splits.
    """
    videos = sorted(videos, key=lambda video: video.key)
    groups: dict[int, list[Video]] = {}
    for video, group in zip(videos, group_videos(videos), strict=True):
        groups.setdefault(group, []).append(video)
    if len(groups) < len(shares):
        raise UserError(
            f"{len(videos)} videos fall into {len(groups)} groups that share a person, too few for "
            f"{', '.join(shares)}: add videos of other people, or sort them into folders train, val, test"
        )
    shuffled = [
        list(groups.values())[place] for place in np.random.default_rng(seed).permutation(len(groups))
    ]
    totals = Counter(video.label for video in videos)
    placed: dict[str, Counter[int]] = {name: Counter() for name in shares}
    split_of: dict[str, str] = {}
    for members in sorted(shuffled, key=len, reverse=True):
        need = Counter(video.label for video in members)
        name = max(shares, key=lambda name: _want(need, placed[name], totals, shares[name]))
        placed[name] += need
        split_of |= dict.fromkeys((video.key for video in members), name)
    return [replace(video, split=split_of[video.key]) for video in videos]


def _want(need: Counter[int], have: Counter[int], totals: Counter[int], share: float) -> float:
    """How much a split wants a group: its classes' missing shares, and a little the share of all videos."""
    by_class = sum(count * (1 - have[label] / (share * totals[label])) for label, count in need.items())
    return by_class + 0.01 * (1 - have.total() / (share * totals.total()))


def describe_split(videos: Sequence[Video]) -> str:
    """Like "train 5 real + 7 fake, val 1 + 1, test 1 + 2"."""
    count = Counter((video.split, video.label) for video in videos)
    return ", ".join(f"{name} {count[name, 0]} real + {count[name, 1]} fake" for name in SPLITS)
