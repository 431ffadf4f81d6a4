"""A comparison of runs as files: tables, plots, and the page that holds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deepfake.reports.comparison import (
    AGAINST,
    METRICS,
    SHOWN_METRIC,
    Comparison,
    Row,
    against,
    cell,
    markdown,
    note,
    plotted_key,
    points,
)
from deepfake.reports.differences import ScoredVideos
from deepfake.reports.measured import NAMES, TextTable
from deepfake.reports.overlays import plot_method_bars, plot_reliability_overlay, plot_roc_overlay
from deepfake.reports.pages import png_uri, write_page
from deepfake.reports.plots import plot_over_key
from deepfake.reports.runs import DONE
from deepfake.reports.tables import write_csv
from deepfake.text import write_text

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
