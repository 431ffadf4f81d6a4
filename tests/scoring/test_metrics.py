import numpy as np
import pytest
from sklearn import metrics as sk

from deepfake.scoring.metrics import balanced_log_loss, classification_metrics, youden_threshold


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_sklearn_also_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 50)
    prob = np.round(np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0, 1), 1)
    found = classification_metrics(prob, label, threshold=0.5)
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(label, prob), abs=1e-9)
    assert found["ap"] == pytest.approx(sk.average_precision_score(label, prob), abs=1e-9)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(label, prob >= 0.5), abs=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(label, prob >= 0.5), abs=1e-12
    )


def test_eer_lies_on_the_straight_line_between_roc_points() -> None:
    # ROC through (0, 0), (0, 1/2), (1/3, 1/2), (1/3, 1): fpr = fnr = 1/3 on the last rise
    found = classification_metrics([0.9, 0.8, 0.7, 0.2, 0.1], [1, 0, 1, 0, 0], threshold=0.5)
    assert found["eer"] == pytest.approx(1 / 3, abs=1e-9)
    # from (0, 0) straight to (1, 1): everything tied
    assert classification_metrics([0.5, 0.5], [0, 1], threshold=0.5)["eer"] == pytest.approx(0.5)


def test_a_perfect_detector_has_no_equal_error() -> None:
    found = classification_metrics([0.1, 0.9], [0, 1], threshold=0.5)
    assert found == {"auroc": 1.0, "ap": 1.0, "eer": 0.0, "accuracy": 1.0, "balanced_accuracy": 1.0}


def test_what_one_class_or_nothing_leaves_undefined_is_none() -> None:
    one = classification_metrics([0.2, 0.9], [1, 1], threshold=0.5)
    assert one == {"auroc": None, "ap": None, "eer": None, "accuracy": 0.5, "balanced_accuracy": None}
    assert set(classification_metrics([], [], threshold=0.5).values()) == {None}


def test_the_threshold_lies_half_way_between_the_classes() -> None:
    assert youden_threshold([0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1], default=0.5) == 0.5
    assert youden_threshold([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]) == pytest.approx(0.25)
    assert youden_threshold([0.1, 0.2], [1, 1]) == 0.5


def test_the_loss_weighs_a_rare_class_like_a_common_one() -> None:
    logit = np.array([0.0, 0.0, 0.0, 2.0])
    label = np.array([0, 0, 0, 1])
    expected = (np.log(2) + np.log1p(np.exp(-2))) / 2
    assert balanced_log_loss(logit, label) == pytest.approx(expected, abs=1e-12)
