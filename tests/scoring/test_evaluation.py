from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.scoring.aggregate import WindowScores
from deepfake.scoring.bootstrap import Resampling
from deepfake.scoring.decision import Decision, fitted
from deepfake.scoring.evaluation import PEOPLE, VIDEOS, About, evaluate, measure

Scored = Callable[[Sequence[tuple[int, int, int, float]]], WindowScores]
HOW = Resampling(num=200)


def split(*, num: int = 24, people: bool = True) -> dict[int, About]:
    """A third of the videos real, the others fakes of two methods, two corpora in turn."""
    methods = ("real", "swap", "puppet")
    return {
        video: About(
            key=f"v{video}",
            label=int(video % 3 > 0),
            corpus=f"c{video % 2}",
            method=methods[video % 3],
            people=(f"p{video // 3}",) if people else (),
        )
        for video in range(num)
    }


def noisy(num: int = 24, *, seed: int = 0, distance: float = 0.7) -> WindowScores:
    """Five windows of two frames in each of two tracks a video."""
    rng = np.random.default_rng(seed)
    video, track, start = (
        a.ravel() for a in np.meshgrid(np.arange(num), [0, 1], np.arange(5), indexing="ij")
    )
    logit = rng.normal(np.where(video % 3 > 0, distance, -distance), 1.5)
    return WindowScores(video, track, start, logit, np.stack([start, start + 1], axis=1))


def test_shuffled_and_repeated_rows_change_no_figure() -> None:
    scores = noisy()
    order = np.random.default_rng(1).permutation(np.tile(np.arange(len(scores)), 2))
    mixed = WindowScores(
        *(getattr(scores, name)[order] for name in ("video", "track", "start", "logit", "frame"))
    )
    assert evaluate(mixed, split(), Decision(), how=HOW) == evaluate(scores, split(), Decision(), how=HOW)


def test_levels_count_what_they_say() -> None:
    found = evaluate(noisy(), split(), Decision())
    assert {name: level.real + level.fake for name, level in found.levels.items()} == {
        "frame": 24 * 2 * 6,
        "window": 24 * 2 * 5,
        "track": 24 * 2,
        "video": 24,
    }


def test_validation_and_test_measure_alike() -> None:
    about, decision = split(), Decision(threshold=0.6)
    flat = evaluate(noisy(), about, decision).flat()
    for name, value in measure(noisy(), {v: a.label for v, a in about.items()}, decision).items():
        assert flat[name] == value, name


def test_a_video_without_a_score_counts_as_wrong_in_every_video_alone(scored: Scored) -> None:
    about = {0: About(key="a", label=0), 1: About(key="b", label=1), 2: About(key="c", label=1)}
    found = evaluate(scored([(0, 0, 0, 0.2), (1, 0, 0, 0.8)]), about, Decision())
    assert (found.coverage, found.videos) == (2 / 3, 3)
    assert found.levels["video"].rates["accuracy"] == 1.0
    assert found.levels["video"].rates["auroc"] == 1.0
    assert found.every_video.rates["accuracy"] == pytest.approx(2 / 3)
    assert found.every_video.rates["auroc"] == pytest.approx(0.5)
    assert found.every_video.false_real == 1


def test_each_method_stands_against_the_reals_of_its_corpus() -> None:
    about, scores = split(), noisy()
    found = evaluate(scores, about, Decision())
    assert list(found.groups) == [(c, m) for c in ("c0", "c1") for m in ("", "puppet", "swap")]
    prob = Decision().videos(scores)
    own = [v for v, a in about.items() if a.corpus == "c1" and a.method in ("real", "swap")]
    expected = roc_auc_score([about[v].label for v in own], [prob[v] for v in own])
    group = found.groups["c1", "swap"]
    assert group.rates["auroc"] == pytest.approx(expected, abs=1e-12)
    assert (group.real, group.fake) == (4, 4)


def test_people_are_resampled_where_all_are_known_else_videos() -> None:
    assert evaluate(noisy(), split(), Decision(), how=HOW).unit == PEOPLE
    about = split()
    about[3] = replace(about[3], people=())
    assert evaluate(noisy(), about, Decision(), how=HOW).unit == VIDEOS


def test_one_class_gives_reasons_and_no_crash(scored: Scored) -> None:
    about = {v: About(key=str(v), label=1) for v in range(6)}
    flat = evaluate(scored([(v, 0, 0, 0.5 + v / 20) for v in range(6)]), about, Decision(), how=HOW).flat()
    assert flat["video_auroc"] is None
    assert flat["video_auroc_undefined"] == "nothing real was scored"
    assert flat["video_accuracy"] == 1.0
    assert (flat["video_accuracy_low"], flat["video_accuracy_high"]) == (1.0, 1.0)


def test_nothing_scored_gives_reasons_and_no_crash() -> None:
    flat = evaluate(WindowScores.empty(), split(), Decision(), how=HOW).flat()
    assert (flat["coverage"], flat["video_auroc"], flat["undecided"]) == (0.0, None, None)
    assert flat["every_video_accuracy"] == 0.0
    assert flat["video_auroc_undefined"] == "nothing was scored"


def test_the_band_without_a_verdict_is_a_share_of_the_scored(scored: Scored) -> None:
    about = {v: About(key=str(v), label=v % 2) for v in range(4)}
    rows = [(0, 0, 0, 0.1), (1, 0, 0, 0.45), (2, 0, 0, 0.52), (3, 0, 0, 0.9)]
    assert evaluate(scored(rows), about, Decision(undetermined_margin=0.1)).undecided == 0.5


def test_calibrated_loss_is_told_beside_the_plain_one() -> None:
    labels = {v: a.label for v, a in split().items()}
    scores = noisy(distance=0.1)
    decision = fitted(Decision(), scores, labels)
    flat = evaluate(scores, split(), decision).flat()
    assert decision.temperature != 1
    assert flat["video_log_loss_calibrated"] < flat["video_log_loss"]
    told = evaluate(scores, split(), replace(decision, calibrate=True)).flat()
    assert told["video_log_loss"] == flat["video_log_loss_calibrated"]
    unchanged = ("video_auroc", "frame_auroc", "window_eer", "track_ap", "video_accuracy")
    assert {n: told[n] for n in unchanged} == pytest.approx({n: flat[n] for n in unchanged}, abs=1e-12)


def test_all_rules_are_compared() -> None:
    found = evaluate(noisy(), split(), Decision(window_rule="max", track_rule="mean"))
    assert len(found.rules) == 24
    assert found.rules["max", "mean"]["auroc"] == found.levels["video"].rates["auroc"]
