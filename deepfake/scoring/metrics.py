"""How well probs tell fake from real. What is not defined for a set (one class, nothing scored) is None.

All from one ROC curve in float64: torchmetrics divides its counts in float32, good to 1e-7 only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Metrics = dict[str, float | None]
RATES = ("auroc", "ap", "eer", "accuracy", "balanced_accuracy")
Goal = Literal["min", "max"]


def goal(metric: str) -> Goal:
    """Whether a metric is better when it is smaller or larger."""
    return "min" if any(name in metric for name in ("loss", "eer", "brier")) else "max"


def roc(prob: ArrayLike, label: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """False and true positives when everything from a threshold on is called fake: two (K,) arrays of counts.

    One point a distinct prob, thresholds falling, from (0, 0) to (real, fake); ties move together.
    """
    probs, labels = np.asarray(prob, np.float64), np.asarray(label, np.int64)
    values, group = np.unique(-probs, return_inverse=True)
    fake = np.bincount(group, weights=labels, minlength=len(values))
    real = np.bincount(group, weights=1 - labels, minlength=len(values))
    return np.append(0, np.cumsum(real)), np.append(0, np.cumsum(fake))


def classification_metrics(prob: ArrayLike, label: ArrayLike, *, threshold: float) -> Metrics:
    """The RATES of probs (N,) in [0, 1] for labels (N,), 1 = fake.

    ap is the mean precision over the fakes, steps not interpolated. A prob from the threshold on counts as
    fake in both accuracies.
    """
    probs, labels = np.asarray(prob, np.float64), np.asarray(label, np.int64)
    right = (probs >= threshold) == (labels == 1)
    metrics: Metrics = dict.fromkeys(RATES)
    if len(labels):
        metrics["accuracy"] = float(right.mean())
    if len(np.unique(labels)) == 2:
        false, true = roc(probs, labels)
        fpr, tpr = false / false[-1], true / true[-1]
        precision = true[1:] / (true[1:] + false[1:])
        metrics["auroc"] = float(np.trapezoid(tpr, fpr))
        metrics["ap"] = float(np.sum(np.diff(tpr) * precision))
        metrics["eer"] = equal_error_rate(fpr, tpr)
        metrics["balanced_accuracy"] = float((right[labels == 1].mean() + right[labels == 0].mean()) / 2)
    return metrics


def equal_error_rate(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Where false positive and false negative rate are equal on a ROC curve (K,), straight between points."""
    gap = 1 - tpr - fpr  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def balanced_log_loss(logit: np.ndarray, label: np.ndarray) -> float | None:
    """Mean over the classes present of the mean binary cross-entropy; logit (N,), label (N,) of 0 and 1."""
    loss = np.logaddexp(0, np.where(label == 1, -logit, logit))
    return float(np.mean([loss[label == c].mean() for c in np.unique(label)])) if len(label) else None


def youden_threshold(prob: ArrayLike, label: ArrayLike, *, default: float = 0.5) -> float:
    """The threshold of the best balanced accuracy (Youden's J), half-way between two neighbouring probs.

    Of equally good ones the one nearest to default; default itself if a class is missing.
    """
    probs, labels = np.asarray(prob, np.float64), np.asarray(label)
    if len(np.unique(labels)) < 2:
        return default
    values = np.unique(probs)
    candidates = np.append((values[:-1] + values[1:]) / 2, default)
    hits = probs[None] >= candidates[:, None]
    youden = hits[:, labels == 1].mean(axis=1) - hits[:, labels == 0].mean(axis=1)
    best = candidates[youden >= youden.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - default))])
