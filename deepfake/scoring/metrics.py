"""How well probs tell fake from real. What is not defined for a set is None, and undefined() says why.

All in float64: torchmetrics divides its counts in float32, good to 1e-7 only, and knows no weights, by which
the resamples of an interval are measured many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Metrics = dict[str, float | None]
Goal = Literal["min", "max"]

RANKING = ("auroc", "ap", "eer", "tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr")
"""What needs both classes and no threshold."""
DECIDING = ("accuracy", "balanced_accuracy")
PROBABILISTIC = ("log_loss", "brier", "ece")
RATES = RANKING + DECIDING + PROBABILISTIC
FPR = {"tpr_at_1pct_fpr": 0.01, "tpr_at_0.1pct_fpr": 0.001}
NUM_BINS = 10
MIN_PROB = float(np.finfo(np.float64).eps)
"""Probs are kept so far from 0 and 1 in log_loss, as scikit-learn keeps them."""


def goal(metric: str) -> Goal:
    """Whether a metric is better when it is smaller or larger."""
    return "min" if any(name in metric for name in ("loss", "eer", "brier", "ece")) else "max"


def roc(prob: ArrayLike, label: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """False and true positives when everything from a threshold on is called fake: two (K,) arrays of counts.

    One point a distinct prob, thresholds falling, from (0, 0) to (real, fake); ties move together.
    """
    false, true = Tally(prob, label, threshold=0.5).total().curve()
    return false[:, 0], true[:, 0]


def classification_metrics(prob: ArrayLike, label: ArrayLike, *, threshold: float) -> Metrics:
    """The RATES of probs (N,) in [0, 1] for labels (N,), 1 = fake; None where undefined.

    auroc: ties count half. ap: mean precision over the fakes, steps not interpolated. eer: see
    equal_error_rate. tpr_at_…: the largest share of fakes found at a false positive rate of at most that.
    A prob from the threshold on counts as fake in both accuracies. brier: mean squared error. ece: expected
    calibration error in NUM_BINS bins of equal width.
    """
    values = rates(Tally(prob, label, threshold=threshold).total(), without=undefined(label))
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def undefined(label: ArrayLike) -> dict[str, str]:
    """Why some of the RATES are None for these labels (N,), by name."""
    labels = np.asarray(label, np.int64)
    fake, real = int(labels.sum()), int((1 - labels).sum())
    if not len(labels):
        return dict.fromkeys(RATES, "nothing was scored")
    if not fake or not real:
        return dict.fromkeys(
            (*RANKING, "balanced_accuracy"), f"nothing {'real' if fake else 'fake'} was scored"
        )
    return {
        name: f"{real} real ones cannot show a rate of {fpr:.1%}, which takes {1 / fpr:.0f}"
        for name, fpr in FPR.items()
        if real * fpr < 1
    }


@dataclass(frozen=True, slots=True)
class Sums:
    """What all RATES are made of, for B weightings of the same scores.

    real, fake: (K, B) how many have each prob, falling. right_real, right_fake: (B,) how many of them are on
    the right side of the threshold. loss, squared: (B,) sums of log-loss and squared error. gap: sums of
    label minus prob, (NUM_BINS, B).
    """

    real: np.ndarray
    fake: np.ndarray
    right_real: np.ndarray
    right_fake: np.ndarray
    loss: np.ndarray
    squared: np.ndarray
    gap: np.ndarray

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positives as in roc, (K + 1, B) each."""
        first = np.zeros((1, self.real.shape[1]))
        return tuple(np.cumsum(np.concatenate([first, n]), axis=0) for n in (self.real, self.fake))  # type: ignore[return-value]


class Tally:
    """Probs (N,) and labels (N,) as entries of the sums; resampling changes only how often each one counts.

    max_points: so many points of the curve at most; neighbours in rank are tied beyond. None: all.
    """

    def __init__(
        self, prob: ArrayLike, label: ArrayLike, *, threshold: float, max_points: int | None = None
    ) -> None:
        probs, fake = np.asarray(prob, np.float64), np.asarray(label, np.int64)
        values, point = np.unique(-probs, return_inverse=True)
        self.num_points = len(values)
        if max_points is not None and self.num_points > max_points:
            above = np.searchsorted(np.sort(-probs), values)
            groups, point = np.unique((above * max_points // len(probs))[point], return_inverse=True)
            self.num_points = len(groups)
        kept = np.clip(probs, MIN_PROB, 1 - MIN_PROB)
        loss = -np.log(np.where(fake == 1, kept, 1 - kept))
        bin_ = np.minimum((probs * NUM_BINS).astype(int), NUM_BINS - 1)
        after = 2 * self.num_points
        entries = (
            (point + self.num_points * fake, np.ones(len(probs))),
            (after + fake, (probs >= threshold) == (fake == 1)),
            (np.full(len(probs), after + 2), loss),
            (np.full(len(probs), after + 3), (fake - probs) ** 2),
            (after + 4 + bin_, fake - probs),
        )
        self.row = np.concatenate([row for row, _ in entries])
        self.value = np.concatenate([value for _, value in entries]).astype(np.float64)
        self.num_rows = after + 4 + NUM_BINS

    def total(self) -> Sums:
        """The sums (B = 1) of everything, once each."""
        return self._parts(np.bincount(self.row, self.value, minlength=self.num_rows)[:, None])

    def by_unit(self, unit: np.ndarray) -> Callable[[np.ndarray], Sums]:
        """The sums as a function of how often each unit counts, (U, B); unit (N,): of each score."""
        from scipy.sparse import coo_array  # 0.2 s of every --help otherwise

        shape = (self.num_rows, int(unit.max()) + 1)
        column = np.tile(unit, len(self.row) // len(unit))
        matrix = coo_array((self.value, (self.row, column)), shape=shape).tocsr()
        return lambda counts: self._parts(matrix @ counts)

    def _parts(self, sums: np.ndarray) -> Sums:
        num = self.num_points
        real, fake, (right_real, right_fake, loss, squared), gap = np.split(sums, [num, 2 * num, 2 * num + 4])
        return Sums(real, fake, right_real, right_fake, loss, squared, gap)


def rates(sums: Sums, *, without: Collection[str] = ()) -> dict[str, np.ndarray]:
    """All RATES, (B,) float64 each; nan where one is undefined, and for those without."""
    false, true = sums.curve()
    real, fake = false[-1], true[-1]
    num = real + fake
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = true[1:] / np.maximum(false[1:] + true[1:], 1)  # where nothing is called, nothing steps
        found = {
            "auroc": np.einsum("kb,kb->b", sums.real, true[1:] + true[:-1]) / (2 * real * fake),
            "ap": np.einsum("kb,kb->b", sums.fake, precision) / fake,
            "eer": equal_error_rate(false / real, true / fake),
            **{name: tpr_at_fpr(false, true, fpr) for name, fpr in FPR.items()},
            "accuracy": (sums.right_real + sums.right_fake) / num,
            "balanced_accuracy": (sums.right_real / real + sums.right_fake / fake) / 2,
            "log_loss": sums.loss / num,
            "brier": sums.squared / num,
            "ece": np.abs(sums.gap).sum(axis=0) / num,
        }
    return {name: np.full_like(num, np.nan) if name in without else found[name] for name in RATES}


def tpr_at_fpr(false: np.ndarray, true: np.ndarray, fpr: float) -> np.ndarray:
    """True positive rate of the last point with at most that false positive rate; counts (K, B) -> (B,)."""
    last = np.count_nonzero(false <= false[-1] * fpr + 1e-9, axis=0) - 1
    return np.take_along_axis(true, last[None], axis=0)[0] / true[-1]


def equal_error_rate(fpr: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    """False positive rate where it equals the false negative one, straight between points: (K, B) -> (B,)."""
    gap = 1 - tpr - fpr  # falls from 1 to -1
    after = np.argmax(gap <= 0, axis=0)[None]
    low, high = (np.take_along_axis(fpr, place, axis=0)[0] for place in (after - 1, after))
    above, below = (np.take_along_axis(gap, place, axis=0)[0] for place in (after - 1, after))
    return low + above / (above - below) * (high - low)


def balanced_log_loss(logit: np.ndarray, label: np.ndarray) -> float | None:
    """Mean over the classes present of the mean binary cross-entropy; logit (N,), label (N,) of 0 and 1."""
    loss = np.logaddexp(0, np.where(label == 1, -logit, logit))
    return float(np.mean([loss[label == c].mean() for c in np.unique(label)])) if len(label) else None
