"""The largest split that no person crosses, for corpora whose fakes tie everybody to everybody.

Real videos always stay. Each person, with all that real videos show of them, goes to one side; a fake stays
if all its people are on one side. Finding the best sides is a graph partition; it is searched for here by
moving single people from many starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array

from deepfake.corpora.splits import SHARES, components
from deepfake.records import FAKE, REAL, Video

STARTS = 300  # of the search, fewer where there are more than EFFORT / STARTS people
EFFORT = 10_000
FLOOR = 0.5  # videos that an empty side counts as, so that its logarithm is finite


def largest_disjoint(
    videos: Sequence[Video], *, seed: int, shares: Mapping[str, float] = SHARES
) -> dict[str, str]:
    """Split by key; a fake whose people fall on different sides has none and must be dropped.

    Maximises, over both classes and all sides, the sum of share × log(videos): that rewards many videos and
    the shares alike. A function of the set of videos and the seed, not of their order.
    """
    videos = sorted(videos, key=lambda video: video.key)
    people = _people(videos)
    in_fakes = {
        person for video, own in zip(videos, people, strict=True) if video.label == FAKE for person in own
    }
    number = {person: place for place, person in enumerate(sorted(in_fakes))}
    pairs = [
        (number[own[0]], number[own[-1]]) for v, own in zip(videos, people, strict=True) if v.label == FAKE
    ]
    num_real = Counter(own[0] for v, own in zip(videos, people, strict=True) if v.label == REAL)
    weights = np.array(list(shares.values()))
    rng = np.random.default_rng(seed)
    # people without fakes do not bind anybody: they fill the sides up at the end
    free = [person for person in num_real if person not in in_fakes]
    filler = sum(num_real[person] for person in free) * weights
    found = _search(pairs, np.array([num_real[person] for person in sorted(in_fakes)]), filler, weights, rng)
    side_of = {person: found[place] for person, place in number.items()}
    filled = np.zeros(len(weights))
    for person, side in side_of.items():
        filled[side] += num_real[person]
    for place in rng.permutation(len(free)):
        side_of[free[place]] = int(np.argmin((filled + num_real[free[place]]) / weights))
        filled[side_of[free[place]]] += num_real[free[place]]
    names = list(shares)
    sides = [{side_of[person] for person in own} for own in people]
    return {v.key: names[own.pop()] for v, own in zip(videos, sides, strict=True) if len(own) == 1}


def _search(
    pairs: Sequence[tuple[int, int]],
    reals: np.ndarray,
    filler: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
) -> list[int]:
    """Everybody's side, the best of many climbs.

    pairs: the two people of each fake (twice the same if it has one). reals: (P,) real videos. filler: (S,)
    further real videos that will be on each side. weights: (S,) shares.
    """
    num = len(reals)
    both = [*pairs, *((second, first) for first, second in pairs if first != second)]
    rows, columns = np.array(both, np.int64).reshape(-1, 2).T
    ties = coo_array((np.ones(len(both)), (rows, columns)), shape=(num, num)).tocsr()
    starts = max(2, min(STARTS, EFFORT // max(num, 1)))
    return max(
        _climb(rng.choice(len(weights), num, p=weights / weights.sum()), ties, reals, filler, weights, rng)
        for _ in range(starts)
    )[1]


def _climb(  # noqa: PLR0917
    sides: np.ndarray,
    ties: csr_array,
    reals: np.ndarray,
    filler: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
) -> tuple[float, list[int]]:
    """Move one person at a time while the value grows; the value reached and everybody's side.

    sides: (P,) start. ties: (P, P), symmetric, fakes that need both people on one side. reals: (P,).
    """
    on_side = np.eye(len(weights))[sides]
    alone = ties.diagonal()
    fakes = (on_side * (ties @ on_side + alone[:, None] * on_side)).sum(axis=0) / 2
    real = reals @ on_side + filler

    def value(fakes: np.ndarray, real: np.ndarray) -> float:
        return float(weights @ (np.log(fakes + FLOOR) + np.log(real + FLOOR)))

    def tied_to(person: int) -> np.ndarray:
        """Fakes that would stay on each side if this person were there."""
        return (ties[[person]] @ on_side)[0] + alone[person] * (1 - on_side[person])

    best, moved = value(fakes, real), True
    while moved:
        moved = False
        for person in rng.permutation(len(sides)):
            tied = tied_to(person)
            for side in range(len(weights)):
                here = sides[person]
                if side == here:
                    continue
                change = np.zeros((2, len(weights)))
                change[0, here], change[0, side] = -tied[here], tied[side]
                change[1, here], change[1, side] = -reals[person], reals[person]
                if (new := value(fakes + change[0], real + change[1])) > best + 1e-9:
                    best, moved = new, True
                    fakes, real = fakes + change[0], real + change[1]
                    on_side[person], sides[person] = np.eye(len(weights))[side], side
                    tied = tied_to(person)
    return best, sides.tolist()


def _people(videos: Sequence[Video]) -> list[list[int]]:
    """For each video the numbers of its people, target first; who shares footage is one person."""
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
