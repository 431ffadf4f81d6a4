"""What is left of a detector under distortions: table, curves and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from deepfake.reports.html import TextConsole, png_uri, write_page
from deepfake.reports.metric_tables import TextTable, with_interval
from deepfake.reports.plots import FAKE_COLOUR, INK, save
from deepfake.scoring.bootstrap import Interval

RATES = ("video_auroc", "video_eer", "video_accuracy", "video_balanced_accuracy")
COLUMNS = (
    *("distortion", "level", "setting", "reals_called_fake", "fakes_called_real"),
    *("videos", "coverage"),
    *(f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high")),
)
PANELS = 5  # side by side
Row = Mapping[str, Any]


def write_robustness(run_dir: Path, rows: Sequence[Row], told: Mapping[str, Any]) -> None:
    """robustness.png and report.html of rows of COLUMNS, the clean one first."""
    picture = run_dir / "robustness.png"
    plot_robustness(rows, picture)
    clean, *others = rows
    write_page(
        run_dir / "report.html",
        "robustness.html.j2",
        title=f"Robustness on the {told['split']} split of {told['protocol']}",
        told=told,
        clean=clean,
        clean_auroc=with_interval(clean["video_auroc"], interval(clean)),
        picture=png_uri(picture),
        table=auroc_table(rows),
        details=detail_table(others),
    )


def by_distortion(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each distortion, in order of level, with the clean one before them."""
    clean, *others = rows
    names = dict.fromkeys(row["distortion"] for row in others)
    return {
        name: [clean, *sorted((r for r in others if r["distortion"] == name), key=lambda r: r["level"])]
        for name in names
    }


def interval(row: Row) -> Interval | None:
    """That of AUROC, if there is one."""
    low, high = row["video_auroc_low"], row["video_auroc_high"]
    return None if low is None or high is None else (low, high)


def auroc_table(rows: Sequence[Row]) -> TextTable:
    """AUROC of videos, distortions by levels."""
    levels = sorted({row["level"] for row in rows})
    lines = []
    for name, own in by_distortion(rows).items():
        cells = {row["level"]: with_interval(row["video_auroc"], None) for row in own}
        lines.append([name.replace("_", " "), *(cells.get(level, "") for level in levels)])
    return TextTable(["AUROC of videos", *(f"level {n}" if n else "clean" for n in levels)], lines)


def detail_table(rows: Sequence[Row]) -> TextTable:
    """What each distortion is, and the rates under it."""
    columns = ["", "", "AUROC", "balanced accuracy", "reals called fake", "fakes called real"]
    lines = [
        [
            f"{row['distortion'].replace('_', ' ')} {row['level']}",
            row["setting"],
            with_interval(row["video_auroc"], interval(row)),
            with_interval(row["video_balanced_accuracy"], None),
            percent(row["reals_called_fake"]),
            percent(row["fakes_called_real"]),
        ]
        for row in rows
    ]
    return TextTable(columns, lines)


def percent(share: float | None) -> str:
    """A share as a whole number of per cent."""
    return "–" if share is None else f"{share:.0%}"


def print_robustness(rows: Sequence[Row]) -> None:
    """AUROC of videos on the terminal."""
    measured = auroc_table(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(measured.columns):
        table.add_column(column, justify="right" if place else "left")
    for row in measured.rows:
        table.add_row(*row)
    TextConsole().print(table)


def plot_robustness(rows: Sequence[Row], path: Path) -> None:
    """AUROC of videos over the level, with its interval and balanced accuracy; a panel a distortion."""
    curves = by_distortion(rows)
    num_rows, columns = -(-len(curves) // PANELS), min(PANELS, len(curves))
    size = (max(4.5, 2.2 * columns), 0.9 + 2.1 * num_rows)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = figure.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, (name, own) in zip(grid.flat, curves.items(), strict=False):
        draw_curve(axes, name, own)
    for axes in grid[:, 0]:
        axes.set_ylabel("videos", fontsize=8)
    lines = grid[0, 0].get_lines()[:2]
    words = ["AUROC, 95 % interval", "balanced accuracy at the fixed threshold"]
    figure.legend(lines, words, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    save(figure, path)


def draw_curve(axes: Axes, name: str, rows: Sequence[Row]) -> None:
    """One panel."""
    level = [row["level"] for row in rows]

    def column(rate: str) -> np.ndarray:
        return np.array([np.nan if row[rate] is None else row[rate] for row in rows], np.float64)

    axes.plot(level, column("video_auroc"), color=FAKE_COLOUR, marker="o", markersize=3, clip_on=False)
    axes.plot(level, column("video_balanced_accuracy"), color=INK, linewidth=1, linestyle=":")
    low, high = column("video_auroc_low"), column("video_auroc_high")
    axes.fill_between(level, low, high, color=FAKE_COLOUR, alpha=0.18, linewidth=0)
    axes.axhline(0.5, color="#bbbbbb", linewidth=1, linestyle="--", zorder=0)
    axes.set(ylim=(min(0.4, float(np.nanmin([*low, 0.4]))), 1.0), xticks=range(6))
    axes.set_xticklabels(["clean", *map(str, range(1, 6))], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_title(name.replace("_", " "), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
