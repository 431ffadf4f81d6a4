from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from deepfake.scoring.aggregate import WindowScores
from deepfake.scoring.decision import (
    HOTTEST,
    THRESHOLD_RULES,
    Decision,
    ThresholdRule,
    choose_threshold,
    fit_temperature,
    fitted,
)
from deepfake.scoring.metrics import classification_metrics

Scored = Callable[[Sequence[tuple[int, int, int, float]]], WindowScores]


def overconfident(seed: int = 0, num: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Probs whose logits are three times what they should be, and labels."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, num)
    return 1 / (1 + np.exp(-3 * logit)), (rng.random(num) < 1 / (1 + np.exp(-logit))).astype(int)


@pytest.mark.parametrize(("prob", "word"), [(0.6, "fake"), (0.59, "real"), (None, "undetermined")])
def test_a_verdict_is_fake_from_the_threshold_on(prob: float | None, word: str) -> None:
    assert Decision(threshold=0.6).verdict(prob) == word


def test_a_prob_too_near_to_the_threshold_gets_no_verdict() -> None:
    decision = Decision(threshold=0.6, undetermined_margin=0.1)
    assert [decision.verdict(p) for p in (0.49, 0.51, 0.6, 0.69, 0.71)] == [
        "real",
        "undetermined",
        "undetermined",
        "undetermined",
        "fake",
    ]


def test_the_temperature_finds_back_by_how_much_probs_are_too_sure() -> None:
    prob, label = overconfident(num=20000)
    assert fit_temperature(prob, label) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_does_not_worsen_the_log_loss_and_changes_no_ranking(seed: int) -> None:
    prob, label = overconfident(seed, num=40)
    decision = Decision(temperature=fit_temperature(prob, label))
    before, after = (
        classification_metrics(p, label, threshold=0.5) for p in (prob, decision.calibrated(prob))
    )
    assert after["log_loss"] <= before["log_loss"]  # type: ignore[operator]
    assert {k: after[k] for k in ("auroc", "ap", "eer")} == {k: before[k] for k in ("auroc", "ap", "eer")}


def test_no_temperature_is_fitted_where_colder_is_better_without_end_or_a_class_is_missing() -> None:
    assert fit_temperature([0.2, 0.4, 0.6, 0.9], [0, 0, 1, 1]) == 1
    assert fit_temperature([0.2, 0.9], [1, 1]) == 1
    assert fit_temperature([], []) == 1


def test_probs_that_point_the_wrong_way_are_made_as_unsure_as_allowed() -> None:
    assert fit_temperature([0.9, 0.8, 0.1], [0, 0, 1]) == pytest.approx(HOTTEST, rel=1e-2)


def test_verdicts_are_the_same_before_and_after_the_temperature() -> None:
    prob, label = overconfident()
    decision = Decision(threshold=choose_threshold(prob, label), temperature=2.5)
    told = replace(decision, calibrate=True)
    assert [told.verdict(p) for p in told.stated(prob)] == [decision.verdict(p) for p in prob]


@pytest.mark.parametrize("calibrate", [False, True])
def test_a_threshold_that_is_asked_for_is_one_of_stated_probs(calibrate: bool) -> None:
    assert Decision(temperature=3.0, calibrate=calibrate).cut_at(0.7).cut == pytest.approx(0.7, abs=1e-12)


def test_the_threshold_lies_half_way_between_the_classes() -> None:
    assert choose_threshold([0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1]) == 0.5
    assert choose_threshold([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]) == pytest.approx(0.25)
    assert choose_threshold([0.1, 0.2], [1, 1]) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_each_rule_chooses_the_best_of_all_thresholds_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 30)
    prob = np.clip(rng.normal(0.35 + 0.3 * label, 0.2), 0.01, 0.99).round(2)
    tries = [0.0, *(np.unique(prob)[:-1] + np.diff(np.unique(prob)) / 2), 1.0]

    def shares(threshold: float) -> tuple[float, float]:
        called = prob >= threshold
        return float(called[label == 0].mean()), float(called[label == 1].mean())

    best: dict[ThresholdRule, float] = {
        "youden": max(tpr - fpr for fpr, tpr in map(shares, tries)),
        "eer": min(abs(1 - tpr - fpr) for fpr, tpr in map(shares, tries)),
        "target_fpr": max(tpr for fpr, tpr in map(shares, tries) if fpr <= 0.2),
    }
    for rule in THRESHOLD_RULES:
        fpr, tpr = shares(choose_threshold(prob, label, rule=rule, target_fpr=0.2))
        found = {"youden": tpr - fpr, "eer": abs(1 - tpr - fpr), "target_fpr": tpr}[rule]
        assert found == pytest.approx(best[rule], abs=1e-12)
        assert rule != "target_fpr" or fpr <= 0.2


def test_fitting_sees_videos_and_keeps_the_rules(scored: Scored) -> None:
    rows = [(0, 0, 0, 0.1), (0, 0, 1, 0.3), (1, 0, 0, 0.4), (1, 1, 0, 0.2), (2, 0, 0, 0.3), (3, 0, 0, 0.45)]
    decision = fitted(Decision(window_rule="max", track_rule="mean"), scored(rows), {0: 0, 1: 0, 2: 1, 3: 1})
    # videos: 0.3, 0.3 real; 0.3, 0.45 fake
    assert (decision.window_rule, decision.track_rule) == ("max", "mean")
    assert decision.threshold == pytest.approx(0.375)
    expected = fit_temperature([0.3, 0.3, 0.3, 0.45], [0, 0, 1, 1])
    assert decision.temperature == pytest.approx(expected, rel=1e-6)
