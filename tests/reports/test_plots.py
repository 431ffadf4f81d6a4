import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve

from deepfake.reports.plots import (
    plot_confusion,
    plot_history,
    plot_precision_recall,
    plot_reliability,
    precision_recall,
    reliability,
)


def scored(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Probs with ties, and labels."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, count)
    return np.clip((label + rng.normal(0, 1, count)).round(1) / 2 + 0.25, 0, 1), label


def test_precision_over_recall_is_that_of_scikit_learn() -> None:
    prob, label = scored()
    recall, precision = precision_recall(prob, label)
    theirs, their_recall, _ = precision_recall_curve(label, prob)
    assert recall == pytest.approx(their_recall[::-1], abs=1e-12)
    assert precision == pytest.approx(theirs[::-1], abs=1e-12)


def test_reliability_is_that_of_scikit_learn() -> None:
    prob, label = scored()
    prob = prob * 0.99 + 0.0033  # on a bin's border the two differ in whom it belongs to
    mean, share, count = reliability(prob, label)
    their_share, their_mean = calibration_curve(label, prob, n_bins=10)
    assert count.sum() == 200
    assert mean[count > 0] == pytest.approx(their_mean)
    assert share[count > 0] == pytest.approx(their_share)


def test_a_bin_holds_its_lower_border_and_the_last_one_also_1() -> None:
    prob, label = np.array([0.0, 0.05, 0.5, 0.55, 1.0]), np.array([0, 1, 1, 1, 1])
    mean, share, count = reliability(prob, label)
    assert count.tolist() == [2, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    assert mean[count > 0].tolist() == pytest.approx([0.025, 0.525, 1.0])
    assert share[count > 0].tolist() == [0.5, 1.0, 1.0]
    assert np.isnan(mean[1])


def test_plots_are_drawn_for_one_bin_and_for_verdicts_that_are_missing(tmp_path: Path) -> None:
    label = np.array([0, 1, 1])
    plot_reliability(np.full(3, 0.5), label, tmp_path / "reliability.png")
    plot_precision_recall(np.full(3, 0.5), label, tmp_path / "pr.png")
    plot_confusion(label, ["real", "fake", "undetermined"], tmp_path / "three.png")
    plot_confusion(label, ["real", "fake", "fake"], tmp_path / "two.png")
    pictures = {path.stem: np.asarray(Image.open(path).convert("L")) for path in tmp_path.glob("*.png")}
    assert {name: picture.shape for name, picture in pictures.items()} == {
        "reliability": (750, 750),
        "pr": (600, 750),
        "three": (600, 750),
        "two": (600, 750),
    }
    assert not np.array_equal(pictures["three"], pictures["two"])


def test_the_history_leaves_out_what_is_logged_between_epochs(tmp_path: Path) -> None:
    log, plot = tmp_path / "metrics.csv", tmp_path / "history.png"
    rows = [
        {"epoch": 0, "step": 3, "train/loss": 0.5, "val/loss": 0.4},
        {"epoch": 1, "step": 7, "train/loss": 0.3, "val/loss": 0.2},
    ]
    drawn = []
    for between in ([], [{"step": 4, "lr/all_weights": 0.1}]):
        with log.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", "step", "train/loss", "val/loss", "lr/all_weights"])
            writer.writeheader()
            writer.writerows(rows[:1] + between + rows[1:])
        plot_history([log], plot)
        drawn.append(np.asarray(Image.open(plot)))
    assert np.array_equal(*drawn)
