"""From a video's windows to its prob and verdict: rules, temperature and threshold, fitted on validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from deepfake.scoring.aggregate import TrackRule, WindowRule, WindowScores, score_videos, sigmoid
from deepfake.scoring.metrics import roc

ThresholdRule = Literal["youden", "eer", "target_fpr"]
THRESHOLD_RULES: tuple[ThresholdRule, ...] = get_args(ThresholdRule)
HOTTEST = 20.0
SURE = 1e-6
"""Cooling makes no validation prob surer than that: far beyond, different probs would become the same 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How window logits become a video's prob and verdict.

    window_rule, track_rule: see scoring.aggregate. threshold: prob from which a video is called fake, before
    the temperature. temperature: what the logit of a joined prob is divided by where calibrate is on; it
    moves no video past another or past the threshold. undetermined_margin: probs nearer than that to the
    threshold get no verdict.
    """

    window_rule: WindowRule = "mean"
    track_rule: TrackRule = "max"
    threshold: float = 0.5
    temperature: float = 1.0
    calibrate: bool = False
    undetermined_margin: float = 0.0

    def calibrated(self, prob: ArrayLike) -> np.ndarray:
        """Probs (N,) after the temperature."""
        probs = np.asarray(prob, np.float64)
        return probs if self.temperature == 1 else sigmoid(to_logit(probs) / self.temperature)

    def stated(self, prob: ArrayLike) -> np.ndarray:
        """Probs (N,) as they are told: after the temperature if calibrate is on."""
        return self.calibrated(prob) if self.calibrate else np.asarray(prob, np.float64)

    @property
    def cut(self) -> float:
        """The threshold of stated probs."""
        return float(self.stated(self.threshold))

    def cut_at(self, prob: float) -> Decision:
        """The same with another threshold of stated probs."""
        raw = prob if not self.calibrate else float(sigmoid(to_logit(np.array(prob)) * self.temperature))
        return replace(self, threshold=raw)

    def videos(self, scores: WindowScores) -> dict[int, float]:
        """The stated prob of each video that has at least one window."""
        probs = score_videos(scores, window_rule=self.window_rule, track_rule=self.track_rule)
        return dict(zip(probs, self.stated(list(probs.values())).tolist(), strict=True))

    def verdict(self, prob: float | None) -> str:
        """ "fake" from the threshold on, "real" below it, "undetermined" without a prob or too near to it."""
        if prob is None or abs(prob - self.cut) < self.undetermined_margin:
            return "undetermined"
        return "fake" if prob >= self.cut else "real"


def fitted(
    decision: Decision,
    scores: WindowScores,
    labels: Mapping[int, int],
    *,
    threshold_rule: ThresholdRule = "youden",
    target_fpr: float = 0.05,
) -> Decision:
    """The decision with the temperature and the threshold that suit these videos; labels: by video."""
    raw = replace(decision, calibrate=False).videos(scores)
    prob, label = list(raw.values()), [labels[video] for video in raw]
    return replace(
        decision,
        temperature=fit_temperature(prob, label),
        threshold=choose_threshold(prob, label, rule=threshold_rule, target_fpr=target_fpr),
    )


def to_logit(prob: np.ndarray) -> np.ndarray:
    """Log odds of probs, kept finite."""
    prob = np.clip(prob, np.finfo(np.float64).tiny, np.nextafter(1, 0))
    return np.log(prob) - np.log1p(-prob)


def fit_temperature(prob: ArrayLike, label: ArrayLike) -> float:
    """The temperature of the least mean log-loss of probs (N,) for labels (N,) (Guo et al., ICML 2017).

    1 where none is better, where a class is missing, and where the probs part the classes at 0.5: there the
    colder the better, without end. At most HOTTEST, which is asked for where probs point the wrong way, and
    not so cold that a prob comes nearer to 0 or 1 than SURE.
    """
    logit, labels = to_logit(np.asarray(prob, np.float64)), np.asarray(label)
    away = np.where(labels == 1, -logit, logit)  # positive where the prob is on the wrong side
    if len(np.unique(labels)) < 2 or away.max() <= 0:
        return 1.0

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, away / np.exp(log_temperature)).mean())

    coldest = min(1.0, float(np.abs(logit).max() / to_logit(np.array(1 - SURE))))
    found = minimize_scalar(loss, bounds=(np.log(coldest), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def choose_threshold(
    prob: ArrayLike,
    label: ArrayLike,
    *,
    rule: ThresholdRule = "youden",
    target_fpr: float = 0.05,
    default: float = 0.5,
) -> float:
    """A threshold for probs (N,) with labels (N,), half-way between two neighbouring probs.

    youden: of the best balanced accuracy (Youden's J). eer: where the shares of missed fakes and of reals
    called fake are nearest. target_fpr: of the most fakes found with at most that share of reals called fake.
    Of equally good ones the one nearest to default; default itself if a class is missing.
    """
    probs, labels = np.asarray(prob, np.float64), np.asarray(label)
    if len(np.unique(labels)) < 2:
        return default
    values = np.unique(probs)[::-1]
    # above all probs, between two of them, below them all: as the points of the curve
    candidates = np.concatenate([[(values[0] + 1) / 2], (values[:-1] + values[1:]) / 2, [values[-1] / 2]])
    if values[0] >= 1:
        candidates[0] = np.nextafter(1, 2)
    false, true = roc(probs, labels)
    fpr, tpr = false / false[-1], true / true[-1]
    worth = {
        "youden": tpr - fpr,
        "eer": -np.abs(1 - tpr - fpr),
        "target_fpr": np.where(fpr <= target_fpr + 1e-12, tpr, -1.0),
    }[rule]
    # default lies between two of them, and may stand for the point that it belongs to
    at_default = int(np.count_nonzero(values >= default))
    best = worth >= worth.max() - 1e-12
    if best[at_default]:
        return default
    places = np.flatnonzero(best)
    return float(candidates[places[np.argmin(np.abs(candidates[places] - default))]])
