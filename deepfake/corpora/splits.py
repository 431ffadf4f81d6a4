"""Splits that no person and no footage crosses, in about the shares asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video

SHARES: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}


def links_of(video: Video) -> tuple[str, ...]:
    """Everything that ties a video to others: people, the clip shown, recordings, the real partner."""
    names = (*video.identities, *video.footage, *((f"clip {video.clip}",) if video.clip else ()))
    return (*names, f"video {video.key}", *((f"video {video.partner}",) if video.partner else ()))


def components(links: Sequence[Sequence[str]]) -> list[int]:
    """For each item the number of its group: items that share a link, also by way of others, are one."""
    names: dict[str, int] = {}
    edges = [
        (item, names.setdefault(link, len(links) + len(names)))
        for item, own in enumerate(links)
        for link in own
    ]
    size = len(links) + len(names)
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    _, groups = connected_components(coo_array((np.ones(len(edges)), (rows, columns)), shape=(size, size)))
    return groups[: len(links)].tolist()


def split_by_group(
    videos: Sequence[Video],
    *,
    seed: int,
    shares: Mapping[str, float] = SHARES,
    links: Callable[[Video], Sequence[str]] = links_of,
) -> dict[str, str]:
    """Split by video key: no group crosses, about these shares of each class.

    A function of the set of videos and the seed, not of their order. Every split first gets both classes, as
    far as the groups go round, the first split before the others; then large groups are placed first, each
    where its classes are fewest for the share. Raises UserError if there are fewer groups than splits.
    """
    videos = sorted(videos, key=lambda video: video.key)
    groups: dict[int, list[Video]] = {}
    for video, group in zip(videos, components([links(video) for video in videos]), strict=True):
        groups.setdefault(group, []).append(video)
    if len(groups) < len(shares):
        raise UserError(
            f"{len(videos)} videos fall into {len(groups)} groups that share a person or footage, too few "
            f"for {', '.join(shares)}: add videos of other people, or say yourself who trains and who tests"
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
    return split_of


def has_shares(
    videos: Sequence[Video], split_of: Mapping[str, str], shares: Mapping[str, float], *, least: float = 0.5
) -> bool:
    """Whether every split holds at least `least` of its share of each class that there is."""
    totals = Counter(video.label for video in videos)
    have = Counter((split_of.get(video.key), video.label) for video in videos)
    return all(
        have[name, label] >= max(1, int(least * share * total))
        for name, share in shares.items()
        for label, total in totals.items()
    )


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
