"""How sure a rate is: intervals by resampling videos or people, and differences on the same videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deepfake.scoring.aggregate import WINDOW_RULES, WindowRule, WindowScores
from deepfake.scoring.metrics import RATES, Sums, Tally, rates

NUM_RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 32
MAX_POINTS = 8192
"""Points of a resampled ROC curve; tying neighbours in rank moves an interval's end by 1e-4 at most."""
MIN_UNITS = 5
MIN_DEFINED = 0.9
DRAWN_AT_ONCE = 1_000_000
"""Windows of resampled tracks that are held at a time: some tens of MB."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """Bootstrap of whole units (Efron's percentile interval): videos, or all videos of a person together."""

    num: int = NUM_RESAMPLES
    level: float = LEVEL
    seed: int = 0

    def counts(self, num_units: int) -> Iterator[np.ndarray]:
        """How often each unit is drawn, (num_units, B) float64, B resamples at a time; always the same."""
        for place, (first, last) in enumerate(pairwise([*range(0, self.num, BLOCK), self.num])):
            rng = np.random.default_rng([self.seed, place])
            draws = rng.integers(num_units, size=(last - first, num_units))
            draws += num_units * np.arange(last - first)[:, None]
            counts = np.bincount(draws.ravel(), minlength=draws.size)
            yield counts.reshape(draws.shape).T.astype(np.float64)

    def ends(self, values: np.ndarray) -> Interval | None:
        """The interval of resampled values (num,); None if too many of them are undefined."""
        defined = values[~np.isnan(values)]
        if len(defined) < MIN_DEFINED * len(values):
            return None
        low, high = np.quantile(defined, [(1 - self.level) / 2, (1 + self.level) / 2])
        return float(low), float(high)


def intervals(
    prob: np.ndarray, label: np.ndarray, unit: np.ndarray, *, threshold: float, how: Resampling = Resampling()
) -> dict[str, Interval | None]:
    """The interval of each of the RATES of probs (N,) for labels (N,); unit (N,): which are drawn together.

    None where the rate is undefined, and for fewer than MIN_UNITS units.
    """
    units, unit = np.unique(unit, return_inverse=True)
    if len(units) < MIN_UNITS:
        return dict.fromkeys(RATES)
    sums = Tally(prob, label, threshold=threshold, max_points=MAX_POINTS).by_unit(unit)
    values = resampled(sums, len(units), how)
    return {name: how.ends(value) for name, value in values.items()}


def resampled(sums: Callable[[np.ndarray], Sums], num_units: int, how: Resampling) -> dict[str, np.ndarray]:
    """Every rate of every resample, (how.num,) each."""
    blocks = [rates(sums(counts)) for counts in how.counts(num_units)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in RATES}


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two detectors on the same videos: second minus first, its interval, and a two-sided p-value.

    p is twice the smaller share of resamples in which the sign is the other one, at least 1 / num.
    """

    value: float
    interval: Interval
    p: float


def paired_difference(
    metric: str,
    first: np.ndarray,
    second: np.ndarray,
    label: np.ndarray,
    unit: np.ndarray,
    *,
    thresholds: tuple[float, float] = (0.5, 0.5),
    how: Resampling = Resampling(),
) -> Difference | None:
    """The difference of a rate between two detectors' probs (N,) for the same labels (N,) and units (N,).

    Both are measured on the same resamples. None where the rate is undefined.
    """
    units, unit = np.unique(unit, return_inverse=True)
    tallies = [
        Tally(prob, label, threshold=threshold)
        for prob, threshold in zip((first, second), thresholds, strict=True)
    ]
    before, after = (rates(tally.total())[metric][0] for tally in tallies)
    if np.isnan(before) or np.isnan(after) or len(units) < MIN_UNITS:
        return None
    drawn = [resampled(tally.by_unit(unit), len(units), how)[metric] for tally in tallies]
    values = drawn[1] - drawn[0]
    ends = how.ends(values)
    if ends is None:
        return None
    values = values[~np.isnan(values)]
    against = min(np.mean(values <= 0), np.mean(values >= 0))
    return Difference(float(after - before), ends, float(min(1.0, max(2 * against, 1 / how.num))))


def window_interval(
    logit: np.ndarray, rule: WindowRule, *, overlap: int = 1, how: Resampling = Resampling(num=1000)
) -> Interval | None:
    """Interval of a track's prob: its windows' logits (W,), in order of time, drawn anew and joined by rule.

    overlap: how many windows in a row share frames; that many neighbours are drawn together, round the end
    (circular block bootstrap, Politis and Romano 1992), else a frame that many windows show would count as
    many. The same logits give the same interval. None unless there are more windows than overlap. It tells
    how well the windows agree, not how sure the detector is of a face that it does not understand.
    """
    num = len(logit)
    if num <= overlap:
        return None
    rng, blocks = np.random.default_rng(how.seed), -(-num // overlap)
    values = []
    for size in np.diff([*range(0, how.num, max(1, DRAWN_AT_ONCE // num)), how.num]):
        first = rng.integers(num, size=(size, blocks, 1))
        drawn = ((first + np.arange(overlap)) % num).reshape(size, -1)[:, :num]
        track = np.repeat(np.arange(size), num)
        scores = WindowScores(track, track, track, logit[drawn].ravel(), track[:, None])
        values.append(WINDOW_RULES[rule](scores, track, int(size)))
    return how.ends(np.concatenate(values))
