import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn import metrics as sk

from deepfake.scoring.metrics import (
    PROBABILISTIC,
    RANKING,
    RATES,
    Tally,
    balanced_log_loss,
    classification_metrics,
    goal,
    rates,
    undefined,
)


def table(seed: int, num: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Probs with many ties, also at 0 and 1, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, num)
    return np.round(np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0, 1), 2), label


def by_sklearn(prob: np.ndarray, label: np.ndarray, threshold: float) -> dict[str, float]:
    """All RATES by other means."""
    fpr, tpr, _ = sk.roc_curve(label, prob, drop_intermediate=False)
    mean_gap = 0.0
    place = np.minimum(np.floor(prob * 10), 9)
    for which in range(10):
        own = place == which
        if own.any():
            mean_gap += own.mean() * abs(label[own].mean() - prob[own].mean())
    return {
        "auroc": sk.roc_auc_score(label, prob),
        "ap": sk.average_precision_score(label, prob),
        "eer": brentq(lambda x: 1 - np.interp(x, fpr, tpr) - x, 0, 1, xtol=1e-13),
        "tpr_at_1pct_fpr": tpr[fpr <= 0.01].max(),
        "tpr_at_0.1pct_fpr": tpr[fpr <= 0.001].max(),
        "accuracy": sk.accuracy_score(label, prob >= threshold),
        "balanced_accuracy": sk.balanced_accuracy_score(label, prob >= threshold),
        "log_loss": sk.log_loss(label, prob),
        "brier": sk.brier_score_loss(label, prob),
        "ece": mean_gap,
    }


@pytest.mark.parametrize("seed", range(8))
def test_every_rate_agrees_with_scikit_learn_also_with_ties(seed: int) -> None:
    prob, label = table(seed, num=4000)
    found = classification_metrics(prob, label, threshold=0.47)
    expected = by_sklearn(prob, label, 0.47)
    assert list(found) == list(expected) == list(RATES)
    assert found == pytest.approx(expected, abs=1e-9)


def test_order_and_repetition_of_the_whole_table_change_nothing() -> None:
    prob, label = table(0)
    order = np.random.default_rng(1).permutation(len(prob))
    expected = classification_metrics(prob, label, threshold=0.5)
    assert classification_metrics(prob[order], label[order], threshold=0.5) == pytest.approx(
        expected, abs=1e-12
    )
    twice = classification_metrics(np.tile(prob, 2), np.tile(label, 2), threshold=0.5)
    same = [name for name in RATES if name not in ("tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr")]
    assert {n: twice[n] for n in same} == pytest.approx({n: expected[n] for n in same}, abs=1e-12)


def test_eer_lies_on_the_straight_line_between_roc_points() -> None:
    # ROC through (0, 0), (0, 1/2), (1/3, 1/2), (1/3, 1): fpr = fnr = 1/3 on the last rise
    found = classification_metrics([0.9, 0.8, 0.7, 0.2, 0.1], [1, 0, 1, 0, 0], threshold=0.5)
    assert found["eer"] == pytest.approx(1 / 3, abs=1e-9)
    # from (0, 0) straight to (1, 1): everything tied
    assert classification_metrics([0.5, 0.5], [0, 1], threshold=0.5)["eer"] == pytest.approx(0.5)


def test_three_videos_by_hand() -> None:
    found = classification_metrics([0.9, 0.6, 0.2], [1, 0, 1], threshold=0.5)
    assert found == pytest.approx(
        {
            "auroc": 0.5,
            "ap": (1 + 2 / 3) / 2,
            "eer": 0.5,
            "tpr_at_1pct_fpr": None,
            "tpr_at_0.1pct_fpr": None,
            "accuracy": 1 / 3,
            "balanced_accuracy": 0.25,
            "log_loss": -(np.log(0.9) + np.log(0.4) + np.log(0.2)) / 3,
            "brier": (0.01 + 0.36 + 0.64) / 3,
            "ece": (0.1 + 0.6 + 0.8) / 3,
        },
        abs=1e-9,
    )


def test_a_perfect_detector_has_no_equal_error() -> None:
    found = classification_metrics([0.0, 1.0], [0, 1], threshold=0.5)
    assert [found[name] for name in ("auroc", "ap", "eer", "accuracy", "brier")] == [1, 1, 0, 1, 0]
    assert found["log_loss"] == pytest.approx(0, abs=1e-12)


def test_what_one_class_or_nothing_leaves_undefined_is_none_with_a_reason() -> None:
    one = classification_metrics([0.2, 0.9], [1, 1], threshold=0.5)
    assert {name for name, value in one.items() if value is None} == {*RANKING, "balanced_accuracy"}
    assert one["accuracy"] == 0.5
    assert undefined([1, 1])["auroc"] == "nothing real was scored"
    assert undefined([0])["eer"] == "nothing fake was scored"
    assert set(classification_metrics([], [], threshold=0.5).values()) == {None}
    assert undefined([]) == dict.fromkeys(RATES, "nothing was scored")


def test_a_rate_at_a_false_positive_rate_needs_as_many_reals() -> None:
    few = undefined([1] + [0] * 99)
    assert few["tpr_at_1pct_fpr"] == "99 real ones cannot show a rate of 1.0%, which takes 100"
    assert list(undefined([1] + [0] * 100)) == ["tpr_at_0.1pct_fpr"]
    # one false alarm in a hundred is allowed
    prob = [0.5, *np.linspace(0, 0.4, 99), 0.9]
    assert classification_metrics(prob, [1] + [0] * 100, threshold=0.5)["tpr_at_1pct_fpr"] == 1.0


def test_weighting_units_is_repeating_their_scores() -> None:
    prob, label = table(3)
    unit = np.random.default_rng(4).integers(0, 20, len(prob))
    counts = np.random.default_rng(5).integers(0, 4, (20, 3)).astype(float)
    found = rates(Tally(prob, label, threshold=0.5).by_unit(unit)(counts))
    for draw in range(3):
        rows = np.repeat(np.arange(len(prob)), counts[unit, draw].astype(int))
        expected = by_sklearn(prob[rows], label[rows], 0.5)
        assert {name: found[name][draw] for name in RATES} == pytest.approx(expected, abs=1e-9)


def test_tying_neighbours_in_rank_hardly_moves_a_curve() -> None:
    rng = np.random.default_rng(6)
    label = rng.integers(0, 2, 50000)
    prob = 1 / (1 + np.exp(-rng.normal(label, 1)))
    whole, coarse = (
        rates(Tally(prob, label, threshold=0.5, max_points=points).total()) for points in (None, 8192)
    )
    assert {name: coarse[name][0] for name in RATES} == pytest.approx(
        {name: whole[name][0] for name in RATES}, abs=2e-4
    )
    assert {n: coarse[n][0] for n in PROBABILISTIC} == {n: whole[n][0] for n in PROBABILISTIC}


def test_errors_are_better_when_smaller() -> None:
    assert [goal(name) for name in RATES] == ["max"] * 2 + ["min"] + ["max"] * 4 + ["min"] * 3


def test_the_loss_weighs_a_rare_class_like_a_common_one() -> None:
    logit = np.array([0.0, 0.0, 0.0, 2.0])
    label = np.array([0, 0, 0, 1])
    expected = (np.log(2) + np.log1p(np.exp(-2))) / 2
    assert balanced_log_loss(logit, label) == pytest.approx(expected, abs=1e-12)
