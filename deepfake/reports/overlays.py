"""Plots of several runs on the same videos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from deepfake.reports.differences import ScoredVideos
from deepfake.reports.plots import legend_below, new_figure, plain_name, reliability, save
from deepfake.scoring.metrics import classification_metrics, roc

# told apart also by those who see few colours (Okabe and Ito)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def plot_roc_overlay(scored: Mapping[str, ScoredVideos], path: Path) -> None:
    """ROC curves, by the name of the run; each has both classes."""
    figure, axes = new_figure("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    for (name, videos), colour in zip(scored.items(), COLOURS, strict=False):
        false, true = roc(videos.probs, videos.labels)
        auroc = classification_metrics(videos.probs, videos.labels, threshold=0.5)["auroc"]
        text = f"{plain_name(name)}: {auroc:.3f}"
        axes.plot(false / false[-1], true / true[-1], color=colour, linewidth=1.6, alpha=0.85, label=text)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_title("videos: ROC", fontsize=10)
    legend_below(figure, axes, len(scored))
    save(figure, path)


def plot_reliability_overlay(scored: Mapping[str, ScoredVideos], path: Path) -> None:
    """Share of fakes over the mean prob in each of ten bins, by the name of the run."""
    figure, axes = new_figure("probability of fake", "share of fakes")
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    for (name, videos), colour in zip(scored.items(), COLOURS, strict=False):
        mean, share, count = reliability(videos.probs, videos.labels)
        filled = count > 0
        gap = np.sum(np.abs(share - mean)[filled] * count[filled]) / count.sum()
        line = {"color": colour, "linewidth": 1.6, "alpha": 0.85, "marker": "o", "markersize": 4}
        axes.plot(mean[filled], share[filled], **line, label=f"{plain_name(name)}: {gap:.3f}")  # type: ignore[arg-type]
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_title("videos: reliability, calibration error", fontsize=10)
    legend_below(figure, axes, len(scored))
    save(figure, path)


def plot_method_bars(scored: Mapping[str, ScoredVideos], path: Path) -> None:
    """AUROC of each method against its corpus's reals, with its interval, by the name of the run."""
    several = len({row["corpus"] for videos in scored.values() for row in videos.groups}) > 1
    found = {name: method_aurocs(videos, several=several) for name, videos in scored.items()}
    methods = sorted({method for own in found.values() for method in own})
    tall = 1.4 + len(methods) * (0.25 + 0.16 * len(scored))
    figure = Figure(figsize=(5, tall), dpi=150, layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(scored)
    lowest = 0.5
    for number, (name, own) in enumerate(found.items()):
        colour = COLOURS[number]
        for method, (value, *ends) in own.items():
            y = methods.index(method) - 0.4 + height * (number + 0.5)
            if ends:
                axes.plot(ends, [y, y], color=colour, linewidth=3, alpha=0.35, solid_capstyle="butt")
            axes.plot([value], [y], "o", color=colour, markersize=5, clip_on=False)
            lowest = min(lowest, value, *ends)
        axes.plot([], [], "o", color=colour, markersize=5, label=plain_name(name))
    axes.axvline(0.5, color="#bbbbbb", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(methods)), [plain_name(method) for method in methods])
    axes.invert_yaxis()
    axes.set(xlim=(lowest - 0.03, 1.005), xlabel="AUROC of videos")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title("by manipulation, against the reals", fontsize=10)
    legend_below(figure, axes, len(scored))
    save(figure, path)


def method_aurocs(videos: ScoredVideos, *, several: bool) -> dict[str, list[float]]:
    """AUROC of each method of a run's groups.csv, followed by its interval's ends if it has one."""
    return {
        f"{row['corpus']}, {row['method']}" if several else row["method"]: [
            float(row[name]) for name in ("auroc", "auroc_low", "auroc_high") if row[name]
        ]
        for row in videos.groups
        if row["method"] and row["auroc"]
    }
