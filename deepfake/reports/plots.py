"""The colours of pages, plots and annotated videos."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepfake.io import atomic_path, visible
from deepfake.reports.runs import read_history
from deepfake.scoring.evaluation import Measured
from deepfake.scoring.metrics import classification_metrics, roc

REAL_COLOUR, FAKE_COLOUR, INK = "#2a7f9e", "#c8553d", "#333333"


def rgb_of(colour: str) -> tuple[int, int, int]:
    """ "#c8553d" -> (200, 85, 61)."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


# Plots of a run, as PNG files.


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


def plot_precision_recall(prob: np.ndarray, label: np.ndarray, path: Path) -> None:
    """Precision over recall of probs (N,) for labels (N,) with both classes; the area below is AP."""
    recall, precision = precision_recall(prob, label)
    ap = classification_metrics(prob, label, threshold=0.5)["ap"]
    figure, axes = new_figure("recall of fakes", "precision")
    axes.axhline(label.mean(), color="#bbbbbb", linewidth=1, linestyle="--")
    axes.plot(recall, precision, color=FAKE_COLOUR, linewidth=2, drawstyle="steps-pre")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_title(f"videos: AP {ap:.3f}")
    save(figure, path)


def plot_reliability(
    prob: np.ndarray, label: np.ndarray, path: Path, *, calibrated: np.ndarray | None = None
) -> None:
    """Share of fakes over the mean prob in each of ten bins, and their counts; probs (N,), N > 0.

    calibrated: the probs after the temperature, drawn beside them if they differ.
    """
    figure = Figure(figsize=(5, 5), dpi=150, layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    lines = {"as scored": (prob, FAKE_COLOUR, "-")}
    if calibrated is not None and not np.array_equal(calibrated, prob):
        lines["after the temperature"] = (calibrated, REAL_COLOUR, ":")
    for name, (probs, colour, style) in lines.items():
        mean, share, count = reliability(probs, label)
        filled = count > 0
        gap = np.sum(np.abs(share - mean)[filled] * count[filled]) / count.sum()
        text = f"{name}: calibration error {gap:.3f}"
        axes.plot(mean[filled], share[filled], style, color=colour, linewidth=2, marker="o", label=text)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.15), ylabel="share of fakes")
    axes.set_title("videos: reliability")
    _, _, count = reliability(prob, label)
    centres = (np.arange(len(count)) + 0.5) / len(count)
    bars = below.bar(centres, count, width=0.9 / len(count), color=INK)
    below.bar_label(bars, [str(n) if n else "" for n in count], fontsize=8, padding=1)
    below.set(xlabel="probability of fake", ylabel="videos", ylim=(0, count.max() * 1.25))
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for part in (axes, below):
        part.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def plot_methods(groups: Mapping[tuple[str, str], Measured], path: Path) -> None:
    """AUROC of every corpus and method with its interval; those without one are left out."""
    rows = [(group, m) for group, m in groups.items() if m.rates["auroc"] is not None][::-1]
    figure = Figure(figsize=(5, 1.1 + 0.34 * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    lowest = 1.0
    for place, ((_, method), measured) in enumerate(rows):
        value, ends = float(measured.rates["auroc"] or 0), measured.intervals.get("auroc")
        colour = FAKE_COLOUR if method else INK
        if ends:
            axes.plot(ends, [place, place], color=colour, linewidth=4, alpha=0.35, solid_capstyle="butt")
        axes.plot([value], [place], "o", color=colour, markersize=6, clip_on=False)
        lowest = min(lowest, *(ends or (value,)))
    several = len({corpus for (corpus, _), _ in rows}) > 1
    names = [f"{corpus}, {method or 'all'}" if several else method or corpus for (corpus, method), _ in rows]
    axes.set_yticks(
        range(len(rows)), [plain_name(f"{name} ({m.fake})") for name, (_, m) in zip(names, rows, strict=True)]
    )
    axes.set(xlim=(min(0.45, lowest - 0.05), 1.005), ylim=(-0.6, len(rows) - 0.4), xlabel="AUROC of videos")
    axes.axvline(0.5, color="#bbbbbb", linewidth=1, linestyle="--")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title("by manipulation (fakes), against the reals", fontsize=10)
    save(figure, path)


def plot_confusion(label: np.ndarray, verdict: Sequence[str], path: Path) -> None:
    """Counts of videos by label (N,) and verdict; those without one have a column of their own, if any."""
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
    history = read_history(logs)
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


def precision_recall(prob: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, (K,) each, of calling fake what has the K highest distinct probs or more.

    probs (N,) for labels (N,) with both classes; recall rises from above 0 to 1, after a first point (0, 1).
    """
    false, true = roc(prob, label)
    return true / true[-1], np.append(1.0, true[1:] / (true[1:] + false[1:]))


def reliability(
    prob: np.ndarray, label: np.ndarray, *, num_bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prob, share of fakes (both float64, nan where there is none) and count of every bin, (num_bins,).

    Bins are equally wide: [0, 0.1), [0.1, 0.2) … [0.9, 1].
    """
    place = np.minimum((prob * num_bins).astype(int), num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=prob, minlength=num_bins) / count
        share = np.bincount(place, weights=label, minlength=num_bins) / count
    return mean, share, count


def plot_over_key(
    key: str,
    metric: str,
    points: Mapping[str, Mapping[float, Sequence[tuple[float, tuple[float, float] | None]]]],
    path: Path,
) -> None:
    """A metric over a key's values, by heading: the mean as a line, every run (seed) with its interval."""
    figure, axes = new_figure(key, metric)
    places = sorted({place for values in points.values() for place in values})
    if len(places) > 2 and places[0] > 0 and places[-1] / places[0] >= 8:
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(places) <= 12:
        axes.set_xticks(places, [f"{place:g}" for place in places])
    for heading, values in points.items():
        own = sorted(values)
        means = [np.mean([value for value, _ in values[place]]) for place in own]
        (line,) = axes.plot(own, means, marker=".", label=plain_name(heading))
        for place in own:
            for value, ends in values[place]:
                axes.plot(place, value, "o", color=line.get_color(), alpha=0.4, markersize=4)
                if ends is not None:
                    axes.plot([place, place], ends, color=line.get_color(), alpha=0.25, linewidth=3)
    legend_below(figure, axes, len(points))
    save(figure, path)


def legend_below(figure: Figure, axes: Axes, num_entries: int) -> None:
    """A legend that hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if num_entries > 1 and max(map(len, labels)) < 30 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


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
        value, _, interval = texts[row][column].partition(" ")
        colour = "white" if values[row, column] > 0.8 else INK
        shown = f"{value}\n{interval}" if interval else value
        axes.text(column, row, shown, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(columns)), [wrapped(plain_name(name)) for name in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), [wrapped(plain_name(name)) for name in rows], fontsize=8)
    axes.set(xlabel="tested on", ylabel="trained by")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="AUROC of videos", fraction=0.05)
    save(figure, path)


def wrapped(name: str, *, width: int = 24) -> str:
    """A long name on several lines."""
    return "\n".join(textwrap.wrap(name, width)) or name


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


def plain_name(name: str) -> str:
    """A name from anybody as text of a figure, in which "$…$" is no formula."""
    return visible(name).replace("$", r"\$")


def save(figure: Figure, path: Path) -> None:
    """Write a figure, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        figure.savefig(part, format=path.suffix[1:])
