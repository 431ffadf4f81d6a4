"""Plots of several runs on the same videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from deepfake.io import write_text
from deepfake.reports.compare import (
    AGAINST,
    METRICS,
    SHOWN_METRIC,
    Comparison,
    Row,
    ScoredVideos,
    against,
    cell,
    markdown,
    note,
    plotted_key,
    points,
)
from deepfake.reports.html import png_uri, write_csv, write_page
from deepfake.reports.metric_tables import NAMES, TextTable
from deepfake.reports.plots import legend_below, new_figure, plain_name, plot_over_key, reliability, save
from deepfake.reports.runs import DONE
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


# A comparison of runs as files: tables, plots, and the page that holds them all.


MOST_CURVES = 8
MOST_CHARS = 40


def write_comparison(comparison: Comparison, folder: Path, name: str) -> None:
    """name.csv, name.md, name.html with its plots and, where one number varies beside seeds, name.png."""
    columns = comparison.columns
    rows = [{column: row[column] for column in columns} for row in comparison.rows]
    write_csv(folder / f"{name}.csv", columns, rows)
    write_text(folder / f"{name}.md", markdown(comparison))
    key = plotted_key(comparison)
    if key is not None:
        plot_over_key(key, SHOWN_METRIC, points(comparison, key), folder / f"{name}.png")
    write_page_of(comparison, folder, name)


def write_page_of(comparison: Comparison, folder: Path, name: str) -> None:
    """name.html, and name_roc.png and the like of each protocol's runs, numbered from the second one on."""
    sections = []
    for number, (heading, rows) in enumerate(comparison.groups.items(), start=1):
        suffix = "" if number == 1 else f"_{number}"
        first = comparison.references.get(heading)
        order = sorted(rows, key=lambda row: row["run"] != first)
        scored = {
            name: videos
            for name, row in zip(labels(order, comparison.keys), order, strict=True)
            if (videos := comparison.scored_of(row)) is not None
        }
        drawn = dict(list(scored.items())[:MOST_CURVES])
        files = draw(drawn, folder, name, suffix)
        sections.append(
            {
                "heading": heading,
                "against": " ".join(against(comparison, heading)),
                "table": page_table(comparison, rows),
                "plots": [{"name": path.stem, "uri": png_uri(path)} for path in files],
                "left_out": len(scored) - len(drawn),
                "leaks": rows[0]["leaks"],
                "errors": [(row["run"], row["error"]) for row in rows if row["error"]],
                "overrides": [(row["run"], row["overrides"]) for row in rows],
            }
        )
    over_key = folder / f"{name}.png"
    write_page(
        folder / f"{name}.html",
        "comparison.html.j2",
        title=f"{len(comparison.rows)} runs",
        notes=note(comparison),
        over_key=png_uri(over_key) if over_key.is_file() else "",
        sections=sections,
    )


def draw(scored: Mapping[str, ScoredVideos], folder: Path, name: str, suffix: str) -> list[Path]:
    """The plots that these runs allow."""
    both = {label: videos for label, videos in scored.items() if len(set(videos.label.values())) == 2}
    if not both:
        return []
    plots = {"roc": plot_roc_overlay, "reliability": plot_reliability_overlay}
    if any(videos.groups for videos in both.values()):
        plots["methods"] = plot_method_bars
    files = [folder / f"{name}_{kind}{suffix}.png" for kind in plots]
    for plot, file in zip(plots.values(), files, strict=True):
        plot(both, file)
    return files


def labels(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Names of runs in legends: the values that vary; the folder too where these are the same, or instead."""
    told = [
        ", ".join(f"{key.rpartition('.')[2]} {row[key]}" for key in keys if row[key] is not None)
        for row in rows
    ]
    found = []
    for name, row in zip(told, rows, strict=True):
        short = name and len(name) <= MOST_CHARS
        found.append((name if told.count(name) == 1 else f"{name}, {row['run']}") if short else row["run"])
    return found


def page_table(comparison: Comparison, rows: Sequence[Row]) -> TextTable:
    """The rows of one protocol, what was tested first; no column that is empty or says that all is done."""
    tested = [metric for metric in METRICS if metric.startswith("test/")]
    first = ["run", *comparison.keys, *tested, AGAINST]
    rest = [column for column in comparison.shown if column not in first]
    columns = [
        column
        for column in [*first, *rest]
        if any(cell(row, column) for row in rows)
        and not (column == "status" and all(row["status"] == DONE for row in rows))
    ]
    words = {
        metric: f"{stage} {NAMES[rate]}" for metric in METRICS for stage, rate in [metric.split("/video_")]
    }
    words |= {"best_epoch": "best epoch"} | {key: key.rpartition(".")[2] for key in comparison.keys}
    cells = [[cell(row, column) for column in columns] for row in rows]
    return TextTable([words.get(column, column) for column in columns], cells)
