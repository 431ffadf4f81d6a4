"""Robustness of a detector against distortions: table, curves and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.reports.html import TextConsole, TextTable, png_uri, with_interval, write_page
from deepfake.reports.plots import plot_robustness
from deepfake.scoring.bootstrap import Interval

RATES = ("video_auroc", "video_eer", "video_accuracy", "video_balanced_accuracy")
COLUMNS = (
    *("distortion", "level", "setting", "reals_called_fake", "fakes_called_real"),
    *("videos", "coverage"),
    *(f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high")),
)
Row = Mapping[str, Any]


def write_robustness(run_dir: Path, rows: Sequence[Row], source: Mapping[str, Any]) -> None:
    """Write robustness.png and report.html from rows of COLUMNS, the clean one first, and print the AUROCs.

    source: checkpoint, split, protocol, protocol_hash and threshold.
    """
    curves = {
        name: {
            "level": np.array([row["level"] for row in own]),
            "auroc": column(own, "video_auroc"),
            "low": column(own, "video_auroc_low"),
            "high": column(own, "video_auroc_high"),
            "balanced_accuracy": column(own, "video_balanced_accuracy"),
        }
        for name, own in by_distortion(rows).items()
    }
    plot_robustness(curves, run_dir / "robustness.png")
    table = auroc_table(rows)
    write_page(
        run_dir / "report.html",
        "robustness.html.j2",
        title=f"Robustness on the {source['split']} split of {source['protocol']}",
        source=source,
        clean=rows[0],
        clean_auroc=with_interval(rows[0]["video_auroc"], interval(rows[0])),
        picture=png_uri(run_dir / "robustness.png"),
        table=table,
        details=detail_table(rows[1:]),
    )
    TextConsole().print(table.terminal())


def by_distortion(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each distortion in the order of levels, after the clean row."""
    clean, *others = sorted(rows, key=lambda row: row["level"])
    names = dict.fromkeys(row["distortion"] for row in rows[1:])
    return {
        name.replace("_", " "): [clean, *(row for row in others if row["distortion"] == name)]
        for name in names
    }


def auroc_table(rows: Sequence[Row]) -> TextTable:
    """AUROC of videos, distortions by levels."""
    levels = sorted({row["level"] for row in rows})
    lines = []
    for name, own in by_distortion(rows).items():
        cells = {row["level"]: with_interval(row["video_auroc"]) for row in own}
        lines.append([name, *(cells.get(level, "") for level in levels)])
    return TextTable(["AUROC of videos", *(f"level {n}" if n else "clean" for n in levels)], lines)


def detail_table(rows: Sequence[Row]) -> TextTable:
    """The setting of each distortion, and the rates under it."""
    columns = ["", "setting", "AUROC", "balanced accuracy", "reals called fake", "fakes called real"]
    lines = [
        [
            f"{row['distortion'].replace('_', ' ')} {row['level']}",
            row["setting"],
            with_interval(row["video_auroc"], interval(row)),
            with_interval(row["video_balanced_accuracy"]),
            *(
                "–" if row[name] is None else f"{row[name]:.0%}"
                for name in ("reals_called_fake", "fakes_called_real")
            ),
        ]
        for row in rows
    ]
    return TextTable(columns, lines)


def interval(row: Row) -> Interval | None:
    """The bootstrap interval of AUROC, if there is one."""
    low, high = row["video_auroc_low"], row["video_auroc_high"]
    return None if low is None or high is None else (low, high)


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """A column as float64; nan = undefined."""
    return np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)
