"""Window logits to track probs to video probs; keys decide what belongs together, never order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

TrackRule = Literal["max", "mean", "main"]
TRACK_RULES: dict[TrackRule, Callable[[list[float]], float]] = {
    "max": max,
    "mean": lambda probs: sum(probs) / len(probs),
    "main": lambda probs: probs[0],
}
"""A video's prob from its tracks', main face first: the largest, the mean, or that of the main face."""


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Logits with their keys: logit (W,) float64, the others (W,) int64; start is the first frame's index."""

    video: np.ndarray
    track: np.ndarray
    start: np.ndarray
    logit: np.ndarray

    def __len__(self) -> int:
        return len(self.logit)

    @property
    def prob(self) -> np.ndarray:
        """Probability of fake, (W,) float64; the one place where a logit becomes one."""
        return 1 / (1 + np.exp(-self.logit))

    def unique(self) -> WindowScores:
        """Sorted by key, each key once, so that order and duplicates change nothing."""
        keys = np.stack([self.video, self.track, self.start])
        _, first = np.unique(keys, axis=1, return_index=True)
        return WindowScores(self.video[first], self.track[first], self.start[first], self.logit[first])


@dataclass(frozen=True, slots=True)
class TrackScores:
    """One row a track, sorted by video and track; windows: how many were averaged."""

    video: np.ndarray
    track: np.ndarray
    prob: np.ndarray
    windows: np.ndarray


def score_tracks(scores: WindowScores) -> TrackScores:
    """A track's prob is the mean over its windows' probs."""
    scores = scores.unique()
    keys, group, windows = np.unique(
        np.stack([scores.video, scores.track]), axis=1, return_inverse=True, return_counts=True
    )
    prob = np.bincount(group.ravel(), weights=scores.prob, minlength=keys.shape[1]) / windows
    return TrackScores(keys[0], keys[1], prob, windows)


def score_videos(scores: WindowScores, *, rule: TrackRule = "max") -> dict[int, float]:
    """Prob of each video that has at least one window, by video."""
    tracks = score_tracks(scores)
    probs: dict[int, list[float]] = {}
    for video, prob in zip(tracks.video.tolist(), tracks.prob.tolist(), strict=True):
        probs.setdefault(video, []).append(prob)
    if rule not in TRACK_RULES:
        raise ValueError(f"rule must be one of {sorted(TRACK_RULES)}, not {rule!r}")
    return {video: TRACK_RULES[rule](values) for video, values in probs.items()}


def verdict(prob: float | None, threshold: float) -> str:
    """ "fake" from the threshold on, "real" below it, "undetermined" without a prob."""
    if prob is None:
        return "undetermined"
    return "fake" if prob >= threshold else "real"
