"""Plots of runs as PNG files: of one run, of several side by side, of a matrix, of distortions.

Figures belong to no pyplot state. Probs and labels are (N,) arrays of videos; label 1 = fake.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepfake.io import atomic_path, visible
from deepfake.reports.html import FAKE_COLOUR, INK, REAL_COLOUR
from deepfake.reports.runs import read_history
from deepfake.scoring.metrics import classification_metrics, roc

# distinguishable for the colour-blind (Okabe and Ito)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
PALE = "#bbbbbb"
GUIDE: dict[str, Any] = {"color": PALE, "linewidth": 1, "linestyle": "--", "zorder": 0}
PANELS_PER_ROW = 5

Value = tuple[float, tuple[float, float] | None]
"""A figure with the ends of its interval, if it has one."""
Scored = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Probs and labels by the name of the run; "" for a plot of a single run."""


def plot_roc(scored: Scored, path: Path) -> None:
    """ROC curves; each run has both classes."""
    figure, axes = new_figure("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], **GUIDE)
    for colour, (name, (prob, label)) in zip(COLOURS, scored.items(), strict=False):
        false, true = roc(prob, label)
        auroc = classification_metrics(prob, label, threshold=0.5)["auroc"]
        text = f"{named(name)}AUROC {auroc:.3f}"
        axes.plot(false / false[-1], true / true[-1], color=colour, linewidth=1.6, alpha=0.85, label=text)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title="videos: ROC")
    legend_below(figure, axes)
    save(figure, path)


def plot_precision_recall(prob: np.ndarray, label: np.ndarray, path: Path) -> None:
    """Precision over recall of a run with both classes; the area below is AP."""
    recall, precision = precision_recall(prob, label)
    ap = classification_metrics(prob, label, threshold=0.5)["ap"]
    figure, axes = new_figure("recall of fakes", "precision")
    axes.axhline(label.mean(), **GUIDE)
    axes.plot(recall, precision, color=FAKE_COLOUR, linewidth=2, drawstyle="steps-pre")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=f"videos: AP {ap:.3f}")
    save(figure, path)


def plot_reliability_of_runs(scored: Scored, path: Path) -> None:
    """Share of fakes over the mean prob in each of ten bins, by the name of the run."""
    figure, axes = new_figure("probability of fake", "share of fakes")
    for colour, (name, (prob, label)) in zip(COLOURS, scored.items(), strict=False):
        draw_reliability(axes, name, prob, label, color=colour, alpha=0.85, markersize=4)
    axes.set(xlim=(-0.01, 1.01), aspect="equal", title="videos: reliability")
    legend_below(figure, axes)
    save(figure, path)


def plot_reliability(
    prob: np.ndarray, label: np.ndarray, path: Path, *, calibrated: np.ndarray | None = None
) -> None:
    """The same of one run, N > 0, above the number of videos in each bin.

    calibrated: the probs after temperature scaling, drawn as well if they differ.
    """
    figure = Figure(figsize=(5, 5), dpi=150, layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    draw_reliability(axes, "as scored", prob, label, color=FAKE_COLOUR)
    if calibrated is not None and not np.array_equal(calibrated, prob):
        draw_reliability(
            axes, "after temperature scaling", calibrated, label, color=REAL_COLOUR, linestyle=":"
        )
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.15), ylabel="share of fakes", title="videos: reliability")
    _, _, count = reliability(prob, label)
    centres = (np.arange(len(count)) + 0.5) / len(count)
    bars = below.bar(centres, count, width=0.9 / len(count), color=INK)
    below.bar_label(bars, [str(n) if n else "" for n in count], fontsize=8, padding=1)
    below.set(xlabel="probability of fake", ylabel="videos", ylim=(0, count.max() * 1.25))
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for part in (axes, below):
        part.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def draw_reliability(axes: Axes, name: str, prob: np.ndarray, label: np.ndarray, **style: Any) -> None:
    """One run's reliability curve, with its calibration error in the legend."""
    mean, share, count = reliability(prob, label)
    filled = count > 0
    gap = np.sum(np.abs(share - mean)[filled] * count[filled]) / count.sum()
    text = f"{named(name)}calibration error {gap:.3f}"
    axes.plot([0, 1], [0, 1], **GUIDE)
    axes.plot(mean[filled], share[filled], marker="o", linewidth=2, label=text, **style)


def plot_methods(runs: Mapping[str, Mapping[str, Value]], path: Path) -> None:
    """AUROC of each manipulation against the real videos, by the name of the run ("" for a single one)."""
    methods = list(dict.fromkeys(method for values in runs.values() for method in values))
    height = 1.4 + len(methods) * (0.25 + 0.16 * len(runs))
    figure = Figure(figsize=(5, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    lowest = 0.5
    for index, (run, values) in enumerate(runs.items()):
        for method, (value, ends) in values.items():
            y = methods.index(method) - 0.4 + 0.8 / len(runs) * (index + 0.5)
            if ends:
                axes.plot(ends, [y, y], color=COLOURS[index], linewidth=3, alpha=0.35, solid_capstyle="butt")
            axes.plot([value], [y], "o", color=COLOURS[index], markersize=5, clip_on=False)
            lowest = min(lowest, value, *(ends or ()))
        axes.plot([], [], "o", color=COLOURS[index], markersize=5, label=plain_name(run))
    axes.axvline(0.5, **GUIDE)
    axes.set_yticks(range(len(methods)), [plain_name(method) for method in methods])
    axes.set(xlim=(lowest - 0.05, 1.005), ylim=(len(methods) - 0.4, -0.6), xlabel="AUROC of videos")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title("each manipulation against the real videos", fontsize=10)
    if list(runs) != [""]:
        legend_below(figure, axes)
    save(figure, path)


def plot_confusion(label: np.ndarray, verdict: Sequence[str], path: Path) -> None:
    """Counts of videos by label and verdict; undetermined ones have their own column, if there are any."""
    verdicts = ["real", "fake"] + (["undetermined"] if "undetermined" in verdict else [])
    count = np.array([[np.sum((label == c) & (np.array(verdict) == v)) for v in verdicts] for c in (0, 1)])
    share = count / np.maximum(1, count.sum(axis=1, keepdims=True))
    figure, axes = new_figure("verdict", "label")
    axes.imshow(share, cmap="Greys", vmin=0, vmax=1.4)
    for row, column in np.ndindex(*count.shape):
        text = f"{count[row, column]}\n{share[row, column]:.0%}"
        colour = "white" if share[row, column] > 0.6 else INK
        axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.set_xticks(range(len(verdicts)), verdicts)
    axes.set_yticks(range(2), ["real", "fake"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"verdicts on {len(label)} videos")
    save(figure, path)


def plot_scores(prob: np.ndarray, label: np.ndarray, threshold: float, path: Path) -> None:
    """Histogram of the probs by label, with the threshold."""
    figure, axes = new_figure("probability of fake", "videos")
    axes.hist(
        [prob[label == 0], prob[label == 1]],
        bins=np.linspace(0, 1, 21).tolist(),
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
    history = read_history(logs)
    figure, axes = new_figure("epoch", "loss")
    right = axes.twinx()
    lines = []
    for name, part, colour in (
        ("train/loss", axes, "#999999"),
        ("val/loss", axes, INK),
        ("val/video_auroc", right, FAKE_COLOUR),
    ):
        if name in history:
            epochs, values = zip(*sorted(history[name].items()), strict=True)
            text = name if part is axes else f"{name} (right)"
            lines += part.plot(epochs, values, color=colour, marker=".", label=text)
    right.set_ylim(0, 1.02)
    right.spines["top"].set_visible(False)
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    save(figure, path)


def precision_recall(prob: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, (K,) each, at every distinct prob as the threshold; both classes are needed.

    Recall rises from above 0 to 1, after a first point (0, 1).
    """
    false, true = roc(prob, label)
    return true / true[-1], np.append(1.0, true[1:] / (true[1:] + false[1:]))


def reliability(
    prob: np.ndarray, label: np.ndarray, *, num_bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prob, share of fakes (both float64, nan in an empty bin) and count of every bin, (num_bins,).

    Bins are equally wide: [0, 0.1), [0.1, 0.2) … [0.9, 1].
    """
    index = np.minimum((prob * num_bins).astype(int), num_bins - 1)
    count = np.bincount(index, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(index, weights=prob, minlength=num_bins) / count
        share = np.bincount(index, weights=label, minlength=num_bins) / count
    return mean, share, count


def plot_over_key(
    key: str, metric: str, points: Mapping[str, Mapping[float, Sequence[Value]]], path: Path
) -> None:
    """A metric over a key's values, by heading: the mean as a line, every run (seed) with its interval."""
    figure, axes = new_figure(key, metric)
    ticks = sorted({x for values in points.values() for x in values})
    if len(ticks) > 2 and ticks[0] > 0 and ticks[-1] / ticks[0] >= 8:
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(ticks) <= 12:
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    for heading, values in points.items():
        own = sorted(values)
        means = [np.mean([value for value, _ in values[x]]) for x in own]
        (line,) = axes.plot(own, means, marker=".", label=plain_name(heading))
        for x in own:
            for value, ends in values[x]:
                axes.plot(x, value, "o", color=line.get_color(), alpha=0.4, markersize=4)
                if ends is not None:
                    axes.plot([x, x], ends, color=line.get_color(), alpha=0.25, linewidth=3)
    legend_below(figure, axes)
    save(figure, path)


def plot_matrix(
    values: np.ndarray,
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
) -> None:
    """AUROCs (R, C) as a heat map from chance to 1 with texts in the cells; nan stays white."""
    width = max(5.0, 2.2 + 1.75 * len(columns))
    figure = Figure(figsize=(width, 1.6 + 0.62 * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="Blues", vmin=0.5, vmax=1.0, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        text = texts[row][column].replace(" ", "\n", 1)
        colour = "white" if values[row, column] > 0.8 else INK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(columns)), [wrapped(name) for name in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), [wrapped(name) for name in rows], fontsize=8)
    axes.set(xlabel="tested on", ylabel="trained on")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="AUROC of videos", fraction=0.05)
    save(figure, path)


def plot_robustness(curves: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> None:
    """A panel per distortion: AUROC of videos over the level, with its interval, and balanced accuracy.

    curves: by distortion, arrays (L,) named level, auroc, low, high and balanced_accuracy; nan = undefined.
    """
    num_rows, columns = -(-len(curves) // PANELS_PER_ROW), min(PANELS_PER_ROW, len(curves))
    size = (max(4.5, 2.2 * columns), 0.9 + 2.1 * num_rows)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = figure.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    lowest = min(0.4, *(float(np.nanmin([0.4, *curve["low"]])) for curve in curves.values()))
    for axes, (name, curve) in zip(grid.flat, curves.items(), strict=False):
        level = curve["level"]
        axes.plot(level, curve["auroc"], color=FAKE_COLOUR, marker="o", markersize=3, clip_on=False)
        axes.plot(level, curve["balanced_accuracy"], color=INK, linewidth=1, linestyle=":")
        axes.fill_between(level, curve["low"], curve["high"], color=FAKE_COLOUR, alpha=0.18, linewidth=0)
        axes.axhline(0.5, **GUIDE)
        axes.set(ylim=(lowest, 1.0), xticks=range(6))
        axes.set_xticklabels(["clean", *map(str, range(1, 6))], fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.set_title(name, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("videos", fontsize=8)
    words = ["AUROC, 95 % interval", "balanced accuracy at the fixed threshold"]
    lines = grid[0, 0].get_lines()[:2]
    figure.legend(lines, words, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    save(figure, path)


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend that hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if len(labels) > 1 and max(map(len, labels)) < 30 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def new_figure(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure with one panel."""
    figure = Figure(figsize=(5, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def named(run: str) -> str:
    """The start of a legend's line; empty for a single run."""
    return f"{plain_name(run)}: " if run else ""


def wrapped(name: str, *, width: int = 24) -> str:
    """A long name on several lines."""
    return "\n".join(textwrap.wrap(plain_name(name), width)) or name


def plain_name(name: str) -> str:
    """A name as text of a figure, in which "$…$" is not read as a formula."""
    return visible(name).replace("$", r"\$")


def save(figure: Figure, path: Path) -> None:
    """Write a figure, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        figure.savefig(part, format=path.suffix[1:])
