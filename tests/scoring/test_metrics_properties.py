"""What holds of rates over any scores: bounds, symmetries, and that order and copies are nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.scoring.decision import ThresholdRule, choose_threshold, fit_temperature, to_logit
from deepfake.scoring.metrics import RANKING, Metrics, Tally, classification_metrics, rates, roc, undefined

Scored = tuple[np.ndarray, np.ndarray]
STEPS = 64  # probs are multiples of 1/64, so that 1 - prob is exact and ties are many
THRESHOLDS = st.integers(0, STEPS).map(lambda step: step / STEPS)


@st.composite
def scored(draw: st.DrawFn, *, both: bool = False) -> Scored:
    """Probs and labels; both: of both classes."""
    rows = draw(st.lists(st.tuples(st.integers(0, STEPS), st.booleans()), min_size=1, max_size=30))
    if both:
        rows += [(draw(st.integers(0, STEPS)), label) for label in (False, True)]
    step, label = np.array(rows).T
    return step / STEPS, label


def close(one: Metrics, other: Metrics) -> None:
    assert {name for name, value in one.items() if value is None} == {
        name for name, value in other.items() if value is None
    }
    for name, value in one.items():
        if value is not None:
            assert other[name] == pytest.approx(value, abs=1e-9), name


@given(given_scores=scored(), threshold=THRESHOLDS)
def test_rates_are_within_their_bounds_or_none_for_a_reason(given_scores: Scored, threshold: float) -> None:
    prob, label = given_scores
    found = classification_metrics(prob, label, threshold=threshold)
    assert {name for name, value in found.items() if value is None} == set(undefined(label))
    for name, value in found.items():
        if value is not None:
            assert 0 <= value <= (np.inf if name == "log_loss" else 1 + 1e-12), name


@given(given_scores=scored(), threshold=THRESHOLDS, seed=st.integers(0, 99))
def test_order_and_copies_of_the_whole_set_change_no_rate(
    given_scores: Scored, threshold: float, seed: int
) -> None:
    prob, label = given_scores
    places = np.random.default_rng(seed).permutation(len(prob))
    plain = rates(Tally(prob, label, threshold=threshold).total())
    shuffled = rates(Tally(prob[places], label[places], threshold=threshold).total())
    twice = rates(Tally(np.tile(prob, 2), np.tile(label, 2), threshold=threshold).total())
    once_each = Tally(prob, label, threshold=threshold).by_unit(places)(np.ones((len(prob), 1)))
    for other in (shuffled, twice, rates(once_each)):
        for name, value in plain.items():
            np.testing.assert_allclose(other[name], value, atol=1e-9, err_msg=name)


@given(given_scores=scored(both=True))
def test_ranking_is_the_same_whatever_keeps_the_order_and_turns_round_with_it(given_scores: Scored) -> None:
    prob, label = given_scores
    found = classification_metrics(prob, label, threshold=0.5)
    stretched = classification_metrics((prob + prob**2) / 2, label, threshold=0.5)
    for name in RANKING:
        assert stretched[name] == found[name]
    other_way = classification_metrics(1 - prob, label, threshold=0.5)
    classes = classification_metrics(1 - prob, 1 - label, threshold=0.5)
    assert (found["auroc"] or 0) + (other_way["auroc"] or 0) == pytest.approx(1, abs=1e-12)
    for name in ("auroc", "eer", "brier"):
        assert classes[name] == pytest.approx(found[name], abs=1e-12)


@given(given_scores=scored(both=True))
def test_fakes_that_look_more_fake_worsen_no_ranking(given_scores: Scored) -> None:
    prob, label = given_scores
    before = classification_metrics(prob, label, threshold=0.5)
    after = classification_metrics(np.where(label == 1, (1 + prob) / 2, prob), label, threshold=0.5)
    for name in ("auroc", "ap", "accuracy", "tpr_at_1pct_fpr"):
        if before[name] is not None:
            assert (after[name] or 0) >= (before[name] or 0) - 1e-12, name
    assert (after["eer"] or 0) <= (before["eer"] or 0) + 1e-12


@given(given_scores=scored())
def test_a_curve_rises_from_nothing_to_everything(given_scores: Scored) -> None:
    prob, label = given_scores
    false, true = roc(prob, label)
    assert (false[0], true[0]) == (0, 0)
    assert (false[-1], true[-1]) == (int((1 - label).sum()), int(label.sum()))
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert len(false) == len(np.unique(prob)) + 1


@given(
    given_scores=scored(),
    rule=st.sampled_from(["youden", "eer", "target_fpr"]),
    target=st.sampled_from([0, 0.05, 0.3]),
)
def test_a_threshold_is_the_best_by_its_rule_of_all_that_there_are(
    given_scores: Scored, rule: ThresholdRule, target: float
) -> None:
    prob, label = given_scores
    chosen = choose_threshold(prob, label, rule=rule, target_fpr=target)
    if len(np.unique(label)) < 2:
        assert chosen == 0.5
        return

    def worth(threshold: float) -> float:
        called = prob >= threshold
        tpr, fpr = called[label == 1].mean(), called[label == 0].mean()
        if rule == "target_fpr":
            return float(tpr if fpr <= target + 1e-12 else -1)
        return float(tpr - fpr if rule == "youden" else -abs(1 - tpr - fpr))

    assert worth(chosen) >= max(worth(t / (2 * STEPS)) for t in range(2 * STEPS + 2)) - 1e-9


@given(given_scores=scored())
def test_a_fitted_temperature_is_no_worse_than_none(given_scores: Scored) -> None:
    prob, label = given_scores
    temperature = fit_temperature(prob, label)
    away = np.where(label == 1, -1, 1) * to_logit(prob)
    loss = [float(np.logaddexp(0, away / t).mean()) for t in (1.0, temperature)]
    assert 0 < temperature <= 20
    assert loss[1] <= loss[0] + 1e-6
