"""Splits that no person crosses, where a corpus brings none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video

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

    A function of the set of videos and the seed, not of their order. Every split first gets both classes, as
    far as the groups go round, train before the others; then large groups are placed first, each where its
    classes are fewest for the share. Raises UserError if there are fewer groups than splits.
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
    waiting = sorted(shuffled, key=len, reverse=True)
    placed: dict[str, Counter[int]] = {name: Counter() for name in shares}
    split_of: dict[str, str] = {}

    def place(members: list[Video], name: str) -> None:
        placed[name] += Counter(video.label for video in members)
        split_of.update(dict.fromkeys((video.key for video in members), name))

    for rank, name in enumerate(shares):
        # the largest for train, for the others small ones
        for members in _starters(waiting[::-1] if rank else waiting, len(shares) - 1 - rank):
            place(members, name)
            waiting.remove(members)
    for members in waiting:
        need = Counter(video.label for video in members)
        place(members, min(shares, key=lambda name: _fullness(need, placed[name], totals, shares[name])))
    return [replace(video, split=split_of[video.key]) for video in videos]


def _starters(waiting: Sequence[list[Video]], num_later: int) -> Sequence[list[Video]]:
    """The first group with both classes, else the first of each class, else (too few for that) the first.

    At least num_later groups are left for the splits that come later.
    """
    classes = [{video.label for video in members} for members in waiting]
    first = {frozenset(labels): place for place, labels in reversed(list(enumerate(classes)))}
    if (both := first.get(frozenset({REAL, FAKE}))) is not None:
        return [waiting[both]]
    return (
        [waiting[place] for place in first.values()]
        if len(waiting) - len(first) >= num_later
        else waiting[:1]
    )


def _fullness(need: Counter[int], have: Counter[int], totals: Counter[int], share: float) -> float:
    """How full a split is with a group added: its classes' parts of their share, and a little all videos'."""
    by_class = sum(count * (have[label] + count) / (share * totals[label]) for label, count in need.items())
    return by_class + 0.01 * (have + need).total() / (share * totals.total())


def describe_split(videos: Sequence[Video]) -> str:
    """Like "train 5 real + 7 fake, val 1 + 1, test 1 + 2"."""
    count = Counter((video.split, video.label) for video in videos)
    return ", ".join(f"{name} {count[name, 0]} real + {count[name, 1]} fake" for name in SPLITS)
