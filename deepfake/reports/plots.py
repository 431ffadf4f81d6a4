"""Plots of a run, as PNG files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepfake.scoring.metrics import classification_metrics, roc

REAL_COLOUR, FAKE_COLOUR, INK = "#2a7f9e", "#c8553d", "#333333"


def plot_roc(prob: np.ndarray, label: np.ndarray, path: Path) -> None:
    """ROC curve of probs (N,) for labels (N,) with both classes, 1 = fake."""
    false, true = roc(prob, label)
    auroc = classification_metrics(prob, label, threshold=0.5)["auroc"]
    figure, axes = new_figure("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    axes.plot(false / false[-1], true / true[-1], color=FAKE_COLOUR, linewidth=2)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_title(f"videos: AUROC {auroc:.3f}")
    save(figure, path)


def plot_scores(prob: np.ndarray, label: np.ndarray, threshold: float, path: Path) -> None:
    """Histogram of video probs (N,) by label (N,), with the threshold."""
    figure, axes = new_figure("probability of fake", "videos")
    bins = np.linspace(0, 1, 21).tolist()
    axes.hist(
        [prob[label == 0], prob[label == 1]],
        bins=bins,
        stacked=True,
        color=[REAL_COLOUR, FAKE_COLOUR],
        label=["real", "fake"],
        rwidth=0.9,
    )
    axes.axvline(threshold, color=INK, linestyle=":", label=f"threshold {threshold:.2f}")
    axes.legend(frameon=False)
    axes.set_title("scores of videos")
    save(figure, path)


def plot_history(logs: Sequence[Path], path: Path) -> None:
    """Losses and validation AUROC by epoch from the metrics.csv of a run and of its resumptions, in order."""
    history: dict[str, dict[int, float]] = {}
    for log in logs:
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name not in ("epoch", "step"):
                        history.setdefault(name, {})[int(row["epoch"])] = float(value)
    figure, axes = new_figure("epoch", "loss")
    for name, colour in (("train/loss", "#999999"), ("val/loss", INK)):
        if name in history:
            axes.plot(*series(history[name]), color=colour, marker=".", label=name)
    right = axes.twinx()
    if "val/video_auroc" in history:
        right.plot(
            *series(history["val/video_auroc"]),
            color=FAKE_COLOUR,
            marker=".",
            label="val/video_auroc (right)",
        )
    right.set_ylim(0, 1.02)
    right.spines["top"].set_visible(False)
    lines = axes.get_lines() + right.get_lines()
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    save(figure, path)


def series(values: dict[int, float]) -> tuple[list[int], list[float]]:
    """Epochs and values, in order."""
    epochs = sorted(values)
    return epochs, [values[epoch] for epoch in epochs]


def new_figure(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure of its own, untouched by pyplot's global state."""
    figure = Figure(figsize=(5, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
