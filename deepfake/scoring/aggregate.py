"""Window logits to frame, track and video probs; keys decide what belongs together, never order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

WindowRule = Literal["mean", "mean_logit", "median", "max", "top_k", "share"]
TrackRule = Literal["max", "mean", "longest", "main"]
TOP_K = 5


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Logits with their keys: logit (W,) float64; video, track (W,) int64; start (W,), its first frame.

    frame: (W, T) int64, the indices of all frames in a window, some perhaps repeated.
    """

    video: np.ndarray
    track: np.ndarray
    start: np.ndarray
    logit: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.logit)

    @property
    def prob(self) -> np.ndarray:
        """Probability of fake, (W,) float64."""
        return sigmoid(self.logit)

    def unique(self) -> WindowScores:
        """Sorted by key, each key once, so that order and duplicates change nothing."""
        first, _ = grouped(self.video, self.track, self.start)
        columns = (self.video, self.track, self.start, self.logit, self.frame)
        return WindowScores(*(column[first] for column in columns))

    @classmethod
    def empty(cls) -> WindowScores:
        """No window at all."""
        keys = np.zeros(0, np.int64)
        return cls(keys, keys, keys, np.zeros(0), np.zeros((0, 1), np.int64))


@dataclass(frozen=True, slots=True)
class TrackScores:
    """One row a track, sorted by video and track; windows, frames: how many of them were scored."""

    video: np.ndarray
    track: np.ndarray
    prob: np.ndarray
    windows: np.ndarray
    frames: np.ndarray


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """The one place where a logit becomes a probability."""
    return np.exp(-np.logaddexp(0, -logit))


def grouped(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N,) of equal keys: the first one of every group, (G,), in order of key, and group of every row.

    keys: int64 arrays (N,), none below 0, the first one sorted by first.
    """
    joint = keys[0]
    for key in keys[1:]:
        joint = joint * (int(key.max(initial=0)) + 1) + key
    _, first, group = np.unique(joint, return_index=True, return_inverse=True)
    return first, group


def means(values: np.ndarray, group: np.ndarray, num: int) -> np.ndarray:
    """Mean of the values (N,) of each of num groups, (num,)."""
    return np.bincount(group, weights=values, minlength=num) / np.bincount(group, minlength=num)


def score_frames(scores: WindowScores) -> tuple[np.ndarray, np.ndarray]:
    """Video and prob, (F,) each, of every frame of a track: the mean prob of the windows that show it."""
    scores = scores.unique()
    length = scores.frame.shape[1]
    window = np.repeat(np.arange(len(scores)), length)
    frame = scores.frame.ravel()
    # a frame that a window repeats counts once in it
    first, _ = grouped(window, frame)
    window, frame = window[first], frame[first]
    video = scores.video[window]
    first, group = grouped(video, scores.track[window], frame)
    return video[first], means(scores.prob[window], group, len(first))


def score_tracks(scores: WindowScores, *, rule: WindowRule = "mean") -> TrackScores:
    """A track's prob from its windows': their mean by default.

    mean_logit: the prob of the mean logit. top_k: the mean of the TOP_K largest, of all if there are fewer.
    share: of windows that are fake rather than real, prob 0.5 or more.
    """
    scores = scores.unique()
    first, group = grouped(scores.video, scores.track)
    windows = np.bincount(group, minlength=len(first))
    shown, _ = grouped(np.repeat(group, scores.frame.shape[1]), scores.frame.ravel())
    frames = np.bincount(np.repeat(group, scores.frame.shape[1])[shown], minlength=len(first))
    prob = WINDOW_RULES[rule](scores, group, len(first))
    return TrackScores(scores.video[first], scores.track[first], prob, windows, frames)


def ranked(scores: WindowScores, group: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probs sorted by group and falling, the group of each, and the place of each in its group."""
    order = np.lexsort((-scores.prob, group))
    starts = np.searchsorted(group[order], np.arange(num))
    return scores.prob[order], group[order], np.arange(len(order)) - starts[group[order]]


def top_k(scores: WindowScores, group: np.ndarray, num: int) -> np.ndarray:
    """Mean of the TOP_K largest probs of each group, (num,)."""
    prob, of, place = ranked(scores, group, num)
    kept = place < TOP_K
    return means(prob[kept], of[kept], num)


def median(scores: WindowScores, group: np.ndarray, num: int) -> np.ndarray:
    """Median prob of each group, (num,)."""
    prob, of, place = ranked(scores, group, num)
    size = np.bincount(of, minlength=num)[of]
    kept = (place == (size - 1) // 2) | (place == size // 2)
    return means(prob[kept], of[kept], num)


def largest(values: np.ndarray, group: np.ndarray, num: int) -> np.ndarray:
    """Largest value of each group, (num,)."""
    found = np.full(num, -np.inf)
    np.maximum.at(found, group, values)
    return found


WINDOW_RULES: dict[WindowRule, Callable[[WindowScores, np.ndarray, int], np.ndarray]] = {
    "mean": lambda scores, group, num: means(scores.prob, group, num),
    "mean_logit": lambda scores, group, num: sigmoid(means(scores.logit, group, num)),
    "median": median,
    "max": lambda scores, group, num: largest(scores.prob, group, num),
    "top_k": top_k,
    "share": lambda scores, group, num: means((scores.prob >= 0.5).astype(float), group, num),
}

TRACK_RULES: dict[TrackRule, Callable[[TrackScores], dict[int, float]]] = {
    "max": lambda tracks: by_video(tracks, tracks.prob, largest),
    "mean": lambda tracks: by_video(tracks, tracks.prob, means),
    # the first one of equally long ones, which shows the largest face
    "longest": lambda tracks: chosen(tracks, np.lexsort((-tracks.track, tracks.frames))),
    "main": lambda tracks: chosen(tracks, np.argsort(-tracks.track)),
}
"""A video's prob from its tracks': the largest, the mean, that of the one seen longest, of the main face."""


def by_video(tracks: TrackScores, values: np.ndarray, join: Callable[..., np.ndarray]) -> dict[int, float]:
    """Values (K,) of tracks joined by video."""
    first, group = grouped(tracks.video)
    joined = join(values, group, len(first))
    return dict(zip(tracks.video[first].tolist(), joined.tolist(), strict=True))


def chosen(tracks: TrackScores, order: np.ndarray) -> dict[int, float]:
    """Of every video the prob of its track that comes last in an order (K,), videos sorted."""
    last = dict(zip(tracks.video[order].tolist(), tracks.prob[order].tolist(), strict=True))
    return dict(sorted(last.items()))


def score_videos(
    scores: WindowScores, *, window_rule: WindowRule = "mean", track_rule: TrackRule = "max"
) -> dict[int, float]:
    """Prob of each video that has at least one window, by video.

    By default a track's prob is the mean over its windows, and a video's is the largest of its tracks': with
    one person in it the mean over all windows, with several that of the most suspicious person.
    """
    return TRACK_RULES[track_rule](score_tracks(scores, rule=window_rule))


def by_all_rules(scores: WindowScores) -> Iterator[tuple[WindowRule, TrackRule, dict[int, float]]]:
    """Every pair of rules with what score_videos gives by it."""
    for window_rule in WINDOW_RULES:
        tracks = score_tracks(scores, rule=window_rule)
        for track_rule, join in TRACK_RULES.items():
            yield window_rule, track_rule, join(tracks)
