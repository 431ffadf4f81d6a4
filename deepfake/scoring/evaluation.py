"""What a scored split is worth: rates at every level, of each corpus and method, by each rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from deepfake.scoring.aggregate import WindowScores, by_all_rules, score_frames, score_tracks
from deepfake.scoring.bootstrap import MIN_UNITS, Interval, Resampling, intervals
from deepfake.scoring.decision import Decision
from deepfake.scoring.metrics import (
    DECIDING,
    PROBABILISTIC,
    RANKING,
    RATES,
    Metrics,
    balanced_log_loss,
    classification_metrics,
    undefined,
)

LEVELS = ("frame", "window", "track", "video")
PEOPLE = "people"
VIDEOS = "videos"


class Level(NamedTuple):
    """Calibrated probs (N,) with labels (N,) and the video of each (N,)."""

    prob: np.ndarray
    label: np.ndarray
    video: np.ndarray


def levels(scores: WindowScores, labels: Mapping[int, int], decision: Decision) -> dict[str, Level]:
    """The stated probs of LEVELS; a frame has the mean prob of the windows that show it. labels: by video."""
    scores = scores.unique()
    frame_video, frame_prob = score_frames(scores)
    tracks = score_tracks(scores, rule=decision.window_rule)
    videos = decision.videos(scores)
    columns = {
        "frame": (decision.stated(frame_prob), frame_video),
        "window": (decision.stated(scores.prob), scores.video),
        "track": (decision.stated(tracks.prob), tracks.video),
        "video": (np.array(list(videos.values())), np.array(list(videos), np.int64)),
    }
    known = np.zeros(max(labels, default=-1) + 1, np.int64)
    known[list(labels)] = list(labels.values())
    return {name: Level(prob, known[video], video) for name, (prob, video) in columns.items()}


def measure(scores: WindowScores, labels: Mapping[int, int], decision: Decision) -> Metrics:
    """Every rate named level_rate, and the loss of all windows, which weighs both classes alike."""
    found = levels(scores, labels, decision)
    unique = scores.unique()
    metrics: Metrics = {"loss": balanced_log_loss(unique.logit, found["window"].label)}
    for name, level in found.items():
        values = classification_metrics(level.prob, level.label, threshold=decision.cut)
        metrics |= {f"{name}_{rate}": value for rate, value in values.items()}
    return metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a video beside its scores; people: who is seen, then whose face was used."""

    key: str
    label: int
    corpus: str = ""
    method: str = ""
    people: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValues:
    """Rates of one set of scores; intervals: of those that have one; reasons: why rates are None, by name.

    real, fake: how many. false_fake, false_real: how many of them are on the wrong side of the threshold.
    """

    real: int
    fake: int
    false_fake: int
    false_real: int
    rates: Metrics
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A split measured.

    levels: by LEVELS. every_video: the videos without a score counted as wrong. groups: the fakes of each
    corpus (name, "") and of each method (corpus, name) against the reals of that corpus, at video level.
    rules: AUROC and the like of the videos by other rules. calibrated: PROBABILISTIC ones of the videos after
    the temperature. loss: of the windows. coverage: share of videos that were scored. undecided: share of
    these without a verdict. unit: what was resampled.
    """

    videos: int
    levels: dict[str, MetricValues]
    every_video: MetricValues
    groups: dict[tuple[str, str], MetricValues]
    rules: dict[tuple[str, str], Metrics]
    calibrated: Metrics
    loss: float | None
    coverage: float | None
    undecided: float | None
    unit: str

    def flat(self) -> dict[str, Any]:
        """metrics.json without its stage: level_rate, with level_rate_low and _high, or …_undefined."""
        flat: dict[str, Any] = {"loss": self.loss}
        for name, measured in {**self.levels, "every_video": self.every_video}.items():
            for rate, value in measured.rates.items():
                flat[f"{name}_{rate}"] = value
                if ends := measured.intervals.get(rate):
                    flat |= {f"{name}_{rate}_low": ends[0], f"{name}_{rate}_high": ends[1]}
                if value is None:
                    flat[f"{name}_{rate}_undefined"] = measured.reasons[rate]
            counts = ("real", "fake", "false_fake", "false_real")
            flat |= {f"{name}_{count}": getattr(measured, count) for count in counts}
        flat |= {f"video_{rate}_calibrated": value for rate, value in self.calibrated.items()}
        return flat | {"coverage": self.coverage, "videos": self.videos, "undecided": self.undecided}


def evaluate(
    scores: WindowScores,
    split: Mapping[int, About],
    decision: Decision,
    *,
    how: Resampling | None = None,
) -> Evaluation:
    """Measure the scores of a split's videos, by number; how=None leaves the intervals out."""
    how = how or Resampling(num=0)
    labels = {video: about.label for video, about in split.items()}
    found = levels(scores, labels, decision)
    units, unit = resampled_units(split)

    def measured(level: Level, *, which: Sequence[str] = RATES) -> MetricValues:
        return measure_set(level, units[level.video], decision.cut, how=how, which=which)

    prob, label, video = found["video"]
    scored = dict(zip(video.tolist(), prob.tolist(), strict=True))
    # a video without a score as a detector would judge it that is always wrong
    every = np.array([scored.get(v, 1.0 - about.label) for v, about in split.items()])
    wrong = Level(every, np.array(list(labels.values()), np.int64), np.array(list(split), np.int64))
    raw = list(replace(decision, calibrate=False).videos(scores).values())
    calibrated = classification_metrics(decision.calibrated(raw), label, threshold=0.5)
    verdicts = [decision.verdict(p) for p in scored.values()]
    window = found["window"]
    same = len(found["frame"].prob) == len(window.prob) and scores.frame.shape[1] == 1
    measured_levels = {name: measured(level) for name, level in found.items() if name != "frame" or not same}
    if same:  # a frame detector's windows are its frames
        measured_levels = {"frame": measured_levels["window"], **measured_levels}
    return Evaluation(
        videos=len(split),
        levels=measured_levels,
        every_video=measured(wrong, which=(*RANKING, *DECIDING)),
        groups={
            name: measured(Level(prob[own], label[own], video[own])) for name, own in groups(video, split)
        },
        rules=by_rules(scores, labels),
        calibrated={name: calibrated[name] for name in PROBABILISTIC},
        loss=balanced_log_loss(scores.unique().logit, window.label),
        coverage=len(scored) / len(split) if split else None,
        undecided=verdicts.count("undetermined") / len(verdicts) if verdicts else None,
        unit=unit,
    )


def measure_set(
    level: Level, unit: np.ndarray, threshold: float, *, how: Resampling, which: Sequence[str] = RATES
) -> MetricValues:
    """The rates of one set, which of them are wanted; unit (N,): what is resampled."""
    prob, label, _ = level
    found, reasons = classification_metrics(prob, label, threshold=threshold), undefined(label)
    ends = intervals(prob, label, unit, threshold=threshold, how=how) if how.num else {}
    return MetricValues(
        real=int((label == 0).sum()),
        fake=int((label == 1).sum()),
        false_fake=int(((label == 0) & (prob >= threshold)).sum()),
        false_real=int(((label == 1) & (prob < threshold)).sum()),
        rates={name: found[name] for name in which},
        intervals={name: ends[name] for name in which if name in ends and name not in reasons},
        reasons=reasons,
    )


def resampled_units(split: Mapping[int, About]) -> tuple[np.ndarray, str]:
    """Unit of each video (at its number), and what units are: whoever is shown if all are known, else videos.

    A fake belongs to the person whose video it is, not to whom the face was taken from.
    """
    units = np.full(max(split, default=-1) + 1, -1, np.int64)
    people = {about.people[0] for about in split.values() if about.people}
    if all(about.people for about in split.values()) and len(people) >= MIN_UNITS:
        number = {person: place for place, person in enumerate(sorted(people))}
        units[list(split)] = [number[about.people[0]] for about in split.values()]
        return units, PEOPLE
    units[list(split)] = np.arange(len(split))
    return units, VIDEOS


def groups(video: np.ndarray, split: Mapping[int, About]) -> Iterable[tuple[tuple[str, str], np.ndarray]]:
    """Corpora, then their methods of fakes, each with its rows (N,) bool; reals are in all of them."""
    corpus = np.array([split[v].corpus for v in video.tolist()])
    method = np.array([split[v].method for v in video.tolist()])
    label = np.array([split[v].label for v in video.tolist()])
    for name in np.unique(corpus).tolist():
        own = corpus == name
        yield (name, ""), own
        for fake in np.unique(method[own & (label == 1)]).tolist():
            yield (name, fake), own & ((method == fake) | (label == 0))


def by_rules(scores: WindowScores, labels: Mapping[int, int]) -> dict[tuple[str, str], Metrics]:
    """What needs no threshold of the videos, joined by every pair of rules, before any temperature."""
    found: dict[tuple[str, str], Metrics] = {}
    for window_rule, track_rule, prob in by_all_rules(scores):
        values = classification_metrics(list(prob.values()), [labels[v] for v in prob], threshold=0.5)
        found[window_rule, track_rule] = {name: values[name] for name in (*RANKING, "log_loss", "brier")}
    return found
