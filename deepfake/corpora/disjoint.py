"""The largest split that no person crosses, for corpora whose fakes tie everybody to everybody.

Real videos always stay. Each person, with all that real videos show of them, goes to one side; a fake stays
if all its people are on one side. Finding the best sides is a graph partition; it is searched for here by
moving single people from many starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepfake.corpora.splits import SHARES, components
from deepfake.records import FAKE, REAL, Video

STARTS = 48
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
    num = 1 + max((max(atoms) for atoms in people), default=0)
    ties, reals = np.zeros((num, num)), np.zeros(num)
    for video, atoms in zip(videos, people, strict=True):
        if video.label == REAL:
            reals[atoms[0]] += 1
        elif len(atoms) == 1:
            ties[atoms[0], atoms[0]] += 1
        else:
            ties[atoms[0], atoms[1]] += 1
            ties[atoms[1], atoms[0]] += 1
    weights = np.array(list(shares.values()))
    rng = np.random.default_rng(seed)
    sides = max(
        (_climb(rng.choice(len(weights), num, p=weights / weights.sum()), ties, reals, weights, rng))
        for _ in range(STARTS)
    )[1]
    names = list(shares)
    return {
        video.key: names[sides[atoms[0]]]
        for video, atoms in zip(videos, people, strict=True)
        if len({sides[atom] for atom in atoms}) == 1
    }


def _climb(
    sides: np.ndarray, ties: np.ndarray, reals: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> tuple[float, list[int]]:
    """Move one person at a time while the value grows; the value reached and everybody's side.

    sides: (P,) start. ties: (P, P) fakes that need both people on one side. reals: (P,) real videos.
    """
    on_side = np.eye(len(weights))[sides]
    fakes = (on_side * (ties @ on_side + ties.diagonal()[:, None] * on_side)).sum(axis=0) / 2
    real = reals @ on_side

    def value(fakes: np.ndarray, real: np.ndarray) -> float:
        return float(weights @ (np.log(fakes + FLOOR) + np.log(real + FLOOR)))

    best, moved = value(fakes, real), True
    while moved:
        moved = False
        for person in rng.permutation(len(sides)):
            tied = ties[person] @ on_side + ties[person, person] * (1 - on_side[person])
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
                    tied = ties[person] @ on_side + ties[person, person] * (1 - on_side[person])
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
