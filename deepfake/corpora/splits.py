"""Splits in which no person and no footage is in two splits, with about the requested shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from deepfake.corpora.corpus import Corpus
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, Video

SHARES: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
VAL_SHARE = 0.15  # of the training videos, where a dataset has no validation split


def links_of(video: Video) -> tuple[str, ...]:
    """Names that a video shares with others: people, the clip shown, recordings, the real partner."""
    names = (*video.identities, *video.footage, *((f"clip {video.clip}",) if video.clip else ()))
    return (*names, f"video {video.key}", *((f"video {video.partner}",) if video.partner else ()))


def components(links: Sequence[Sequence[str]]) -> list[int]:
    """The number of each item's group; items that share a link, directly or through others, are one group."""
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
    """Split by video key: each group in one split, about these shares of each class.

    A function of the set of videos and the seed, not of their order. First each split gets a group of both
    classes, or one of each, as long as there are enough groups; then the others are placed by size, each in
    the split that lacks its classes most. Raises UserError if there are fewer groups than splits.
    """
    videos = sorted(videos, key=lambda video: video.key)
    groups: dict[int, list[Video]] = {}
    for video, group in zip(videos, components([links(video) for video in videos]), strict=True):
        groups.setdefault(group, []).append(video)
    if len(groups) < len(shares):
        raise UserError(
            f"{len(videos)} videos are {len(groups)} groups that share a person or footage, too few for "
            f"{', '.join(shares)}: add videos of other people, or name the splits in data=csv"
        )
    members_of = list(groups.values())
    shuffled = (members_of[place] for place in np.random.default_rng(seed).permutation(len(groups)))
    waiting = sorted(shuffled, key=len, reverse=True)
    totals = Counter(video.label for video in videos)
    placed: dict[str, Counter[int]] = {name: Counter() for name in shares}
    split_of: dict[str, str] = {}

    def place(members: list[Video], name: str) -> None:
        placed[name] += Counter(video.label for video in members)
        split_of.update(dict.fromkeys((video.key for video in members), name))

    def fullness(members: list[Video], name: str) -> float:
        """How full a split is with a group added, by its classes and, with little weight, by all videos."""
        need, have, share = Counter(video.label for video in members), placed[name], shares[name]
        by_class = sum(num * (have[label] + num) / (share * totals[label]) for label, num in need.items())
        return by_class + 0.01 * (have + need).total() / (share * totals.total())

    for rank, name in enumerate(shares):
        # large groups for train, small ones for the others
        for members in _starters(waiting[::-1] if rank else waiting, len(shares) - 1 - rank):
            place(members, name)
            waiting.remove(members)
    for members in waiting:
        place(members, min(shares, key=lambda name: fullness(members, name)))
    return split_of


def has_shares(videos: Sequence[Video], split_of: Mapping[str, str], shares: Mapping[str, float]) -> bool:
    """Whether each split has at least half of its share of each class."""
    totals = Counter(video.label for video in videos)
    have = Counter((split_of.get(video.key), video.label) for video in videos)
    return all(
        have[name, label] >= max(1, int(0.5 * share * total))
        for name, share in shares.items()
        for label, total in totals.items()
    )


def _starters(waiting: Sequence[list[Video]], num_later: int) -> Sequence[list[Video]]:
    """The first group with both classes, else the first of each class, else only the first.

    The last is for too few groups: at least num_later of them must remain for the later splits.
    """
    classes = [{video.label for video in members} for members in waiting]
    first = {frozenset(labels): place for place, labels in reversed(list(enumerate(classes)))}
    if (both := first.get(frozenset({REAL, FAKE}))) is not None:
        return [waiting[both]]
    enough = len(waiting) - len(first) >= num_later
    return [waiting[place] for place in first.values()] if enough else waiting[:1]


def carve_validation(videos: Sequence[Video], seed: int) -> tuple[dict[str, str], str]:
    """Split the training videos into train and val: the split by key, and a note on how it was done.

    By groups that share a person or footage, if both splits then have enough of both classes; else by clip,
    so that a person, but no footage, may be in both.
    """
    shares = {"train": 1 - VAL_SHARE, "val": VAL_SHARE}
    ways = {
        "by people: no person is in both": links_of,
        "by clip, as all people are linked: people, but no clip, are in both": lambda video: (
            f"clip {video.clip or video.partner or video.key}",
        ),
    }
    split_of: dict[str, str] = {}
    how = ""
    for how, links in ways.items():  # noqa: B007
        try:
            split_of = split_by_group(videos, seed=seed, shares=shares, links=links)
        except UserError:
            continue
        if has_shares(videos, split_of, shares):
            break
    if not split_of:
        raise UserError(f"{len(videos)} training videos are too few to carve a validation split from")
    return split_of, f"{VAL_SHARE:.0%} of train, {how}"


def split_strictly(corpus: Corpus, seed: int) -> dict[str, str]:
    """Groups kept whole without dropping a video, if each split gets enough; else the largest such split."""
    videos = corpus.videos

    def classes(split_of: Mapping[str, str]) -> tuple[int, bool]:
        """The number of (split, class) with videos, and whether train has both classes."""
        found = {(split_of[video.key], video.label) for video in videos if video.key in split_of}
        return len(found), {("train", REAL), ("train", FAKE)} <= found

    try:
        split_of = split_by_group(videos, seed=seed)
    except UserError:
        split_of = {}
    if not split_of or not has_shares(videos, split_of, SHARES):
        largest = largest_disjoint(videos, seed=seed)
        split_of = largest if not split_of or classes(largest) > classes(split_of) else split_of
    if set(split_of.values()) != set(SHARES):
        raise UserError(
            f"{corpus.name}: {len(videos)} videos cannot be divided into three splits without a person "
            "or footage in two of them; add videos of other people, or name the splits in data=csv"
        )
    return split_of


def split_into_folds(corpus: Corpus, seed: int, fold: int, num_folds: int) -> dict[str, str]:
    """Groups kept whole in num_folds equal parts, of which number fold is test and the next one val."""
    whole = isinstance(fold, int) and isinstance(num_folds, int)
    if not whole or num_folds < 3 or not 0 <= fold < num_folds:
        raise UserError(
            f"data.fold={fold}, data.num_folds={num_folds}: fold must be from 0 to num_folds - 1, and "
            "num_folds at least 3, since one fold is test and one is val"
        )
    shares = {f"fold {number}": 1 / num_folds for number in range(num_folds)}
    fold_of = split_by_group(corpus.videos, seed=seed, shares=shares)
    have = Counter((fold_of[video.key], video.label) for video in corpus.videos)
    if poor := [name for name in shares if not (have[name, REAL] and have[name, FAKE])]:
        raise UserError(
            f"data.num_folds={num_folds}: {corpus.name} has too few groups of people: "
            f"{', '.join(poor)} would lack real or fake videos; use fewer folds or data.protocol=strict"
        )
    part = {f"fold {fold}": "test", f"fold {(fold + 1) % num_folds}": "val"}
    return {key: part.get(name, "train") for key, name in fold_of.items()}


# The largest split with each person in one split, for corpora whose fakes link all people.
#
# Each person goes, with all real videos, to one side (split); a fake is kept if its people are on one side.
# This is a graph partition; it is searched for by moving single people, from many random starts.

STARTS = 300  # of the search, fewer where there are more than EFFORT / STARTS people
EFFORT = 10_000
FLOOR = 0.5  # added to the number of videos of a side, so that its logarithm is finite
WEIGHTS = np.array(list(SHARES.values()))
ON_SIDE = np.eye(len(SHARES))


def largest_disjoint(videos: Sequence[Video], *, seed: int) -> dict[str, str]:
    """Split by key; a fake with people on different sides has no entry and must be dropped.

    Maximises the sum of share × log(videos) over both classes and all sides, which favours many videos in the
    right shares. A function of the set of videos and the seed, not of their order.
    """
    videos = sorted(videos, key=lambda video: video.key)
    people = _people(videos)
    num_real = Counter(own[0] for v, own in zip(videos, people, strict=True) if v.label == REAL)
    in_fakes = [own for v, own in zip(videos, people, strict=True) if v.label == FAKE]
    number = {person: place for place, person in enumerate(sorted({who for own in in_fakes for who in own}))}
    pairs = [(number[own[0]], number[own[-1]]) for own in in_fakes]
    both = [*pairs, *((second, first) for first, second in pairs if first != second)]
    rows, columns = np.array(both, np.int64).reshape(-1, 2).T
    size = len(number)
    ties = coo_array((np.ones(len(both)), (rows, columns)), shape=(size, size)).tocsr()
    reals = np.array([num_real[person] for person in number])
    # people without fakes are linked to no one; they fill up the sides at the end
    free = [person for person in num_real if person not in number]
    filler = sum(num_real[person] for person in free) * WEIGHTS
    rng = np.random.default_rng(seed)
    best = max(
        _climb(rng.choice(len(WEIGHTS), size, p=WEIGHTS / WEIGHTS.sum()), ties, reals, filler, rng)
        for _ in range(max(2, min(STARTS, EFFORT // max(size, 1))))
    )
    side_of = dict(zip(number, best[1], strict=True))
    filled = np.zeros(len(WEIGHTS))
    for person, side in side_of.items():
        filled[side] += num_real[person]
    for person in (free[place] for place in rng.permutation(len(free))):
        side_of[person] = int(np.argmin((filled + num_real[person]) / WEIGHTS))
        filled[side_of[person]] += num_real[person]
    sides = [{side_of[person] for person in own} for own in people]
    return {v.key: list(SHARES)[own.pop()] for v, own in zip(videos, sides, strict=True) if len(own) == 1}


def _climb(
    sides: np.ndarray, ties: csr_array, reals: np.ndarray, filler: np.ndarray, rng: np.random.Generator
) -> tuple[float, list[int]]:
    """Move one person at a time while the value grows; returns the value and each person's side.

    sides: (P,) at the start. ties: (P, P), symmetric, number of fakes of two people. reals: (P,) real videos
    per person. filler: (S,) further real videos to be added to each side.
    """
    on_side = ON_SIDE[sides]
    alone = ties.diagonal()
    fakes = (on_side * (ties @ on_side + alone[:, None] * on_side)).sum(axis=0) / 2
    real = reals @ on_side + filler

    def value(fakes: np.ndarray, real: np.ndarray) -> float:
        return float(WEIGHTS @ (np.log(fakes + FLOOR) + np.log(real + FLOOR)))

    def tied_to(person: int) -> np.ndarray:
        """Fakes that each side would keep if this person were on it."""
        return (ties[[person]] @ on_side)[0] + alone[person] * (1 - on_side[person])

    best, moved = value(fakes, real), True
    while moved:
        moved = False
        for person in rng.permutation(len(sides)):
            tied = tied_to(person)
            for side in range(len(WEIGHTS)):
                if side == sides[person]:
                    continue
                change = ON_SIDE[side] - on_side[person]
                after = fakes + change * tied, real + change * reals[person]
                if (new := value(*after)) > best + 1e-9:
                    best, moved = new, True
                    fakes, real = after
                    on_side[person], sides[person] = ON_SIDE[side], side
                    tied = tied_to(person)
    return best, sides.tolist()


def _people(videos: Sequence[Video]) -> list[list[int]]:
    """The numbers of each video's people, target first; people who share footage are one person."""
    roles, bonds = [], []
    for video in videos:
        shown = f"clip {video.clip or video.partner or video.key}"
        people = video.identities or (shown,)
        bonds.append((people[0], shown) if video.label == FAKE else (shown, *people))
        bonds += list(zip(video.identities, video.footage, strict=False))
        roles.append(people if video.label == FAKE else people[:1])
    names = sorted({name for people in roles for name in people})
    groups = components([*bonds, *((name,) for name in names)])[len(bonds) :]
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    person = {name: number[group] for name, group in zip(names, groups, strict=True)}
    return [list(dict.fromkeys(person[name] for name in people)) for people in roles]
