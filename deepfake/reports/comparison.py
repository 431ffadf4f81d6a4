"""Runs beside each other: a row each, as CSV, Markdown, on the terminal; a plot over one varying value."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from deepfake.reports.runs import Run, varying_keys
from deepfake.reports.tables import write_csv

METRICS = tuple(f"{s}/video_{rate}" for s in ("val", "test") for rate in ("auroc", "accuracy", "eer"))
SHOWN_METRIC = "test/video_auroc"
LEFT_OUT = ("val/video_accuracy", "val/video_eer")  # of the terminal, which is narrow
SEED = "seed"
NO_PROTOCOL = "no protocol: ended before the videos were known"

Row = dict[str, Any]
Points = dict[str, dict[float, list[float]]]
"""By protocol, then by the varying value: the metric of every run (seed)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of several runs, in their order; columns name all of a row's values, keys those that vary."""

    rows: list[Row]
    keys: list[str]

    @property
    def shown(self) -> list[str]:
        """The columns that people read; the rest stands in headings and below."""
        return ["run", *self.keys, "status", "best_epoch", "best", *METRICS, "seconds"]

    @property
    def columns(self) -> list[str]:
        """All, for the CSV."""
        return [*self.shown, "monitor", "protocol", "protocol_hash", "overrides", "error"]

    @property
    def groups(self) -> dict[str, list[Row]]:
        """Rows by the heading of their protocol; runs that knew none stand under the only other one."""
        hashes = dict.fromkeys(row["protocol_hash"] for row in self.rows)
        known = [name for name in hashes if name]
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            own = row["protocol_hash"] or (known[0] if len(known) == 1 else "")
            name = next((r["protocol"] for r in self.rows if own and r["protocol_hash"] == own), "")
            groups.setdefault(f"{name} ({own})" if own else NO_PROTOCOL, []).append(row)
        return groups


def compare(runs: Sequence[Run]) -> Comparison:
    """A row a run, whether it was finished or not."""
    keys = varying_keys(runs)
    together = os.path.commonpath([run.folder.parent for run in runs])
    rows = [
        {
            "run": os.path.relpath(run.folder, together),
            **{key: run.setting(key) for key in keys},
            "status": run.status.status,
            "best_epoch": run.best_epoch,
            "best": run.measured(run.monitor),
            **{metric: run.measured(metric) for metric in METRICS},
            "seconds": run.status.seconds,
            "monitor": run.monitor,
            "protocol": run.protocol,
            "protocol_hash": run.protocol_hash,
            "overrides": " ".join(run.overrides),
            "error": run.status.error,
        }
        for run in runs
    ]
    return Comparison(rows, keys)


def write_comparison(comparison: Comparison, folder: Path, name: str) -> None:
    """name.csv, name.md and, where exactly one numeric key varies beside seeds, name.png."""
    write_csv(folder / f"{name}.csv", comparison.columns, comparison.rows)
    (folder / f"{name}.md").write_text(markdown(comparison))
    key = plotted_key(comparison)
    if key is not None:
        from deepfake.reports.plots import plot_over_key  # matplotlib waits until it is needed

        plot_over_key(key, SHOWN_METRIC, points(comparison, key), folder / f"{name}.png")


def markdown(comparison: Comparison) -> str:
    """A table a protocol, with the errors of failed runs below."""
    lines = [*note(comparison)]
    for heading, rows in comparison.groups.items():
        lines += ["", f"## {heading}", "", md_row(comparison.shown), md_row(["---"] * len(comparison.shown))]
        lines += [md_row([text(row[column]) for column in comparison.shown]) for row in rows]
    errors = [f"- {row['run']}: {row['error']}" for row in comparison.rows if row["error"]]
    return "\n".join([*lines, *(["", "## Errors", "", *errors] if errors else [])]).lstrip() + "\n"


def md_row(cells: Sequence[str]) -> str:
    """Cells between bars."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def print_comparison(comparison: Comparison, title: str) -> None:
    """The tables on the terminal."""
    console = Console()
    for line in note(comparison):
        console.print(line)
    for heading, rows in comparison.groups.items():
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"{title}: {heading}", title_justify="left")
        columns = [
            column
            for column in comparison.shown
            if column not in LEFT_OUT and any(row[column] is not None for row in rows)
        ]
        for column in columns:
            last = column.rpartition(".")[2]  # lr of model.optimizer.lr
            table.add_column(last.replace("/video_", " ").replace("_", " "), overflow="fold")
        for row in rows:
            number = re.match(r"\d+(?=_)", row["run"])  # of a sweep's job, whose name repeats its values
            cells = [text(row[column]) for column in columns]
            table.add_row(number[0] if number else cells[0], *cells[1:])
        console.print(table)


def note(comparison: Comparison) -> list[str]:
    """What must be said before several tables, and by what `best` was chosen."""
    monitors = sorted({row["monitor"] for row in comparison.rows if row["monitor"]})
    lines = [f"best: {', '.join(monitors)} at best_epoch; val/… are of the same epoch."] if monitors else []
    if len({row["protocol_hash"] for row in comparison.rows if row["protocol_hash"]}) > 1:
        lines.append("These runs were tested on different videos: compare within a table only.")
    return lines


def text(value: Any) -> str:
    """A cell: four significant digits of a measured number, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def plotted_key(comparison: Comparison) -> str | None:
    """The one key that varies beside seeds, if its values are numbers; else None."""
    keys = [key for key in comparison.keys if key != SEED]
    numeric = all(is_number(row[key]) for row in comparison.rows for key in keys)
    return keys[0] if len(keys) == 1 and numeric and any(points(comparison, keys[0]).values()) else None


def is_number(value: Any) -> bool:
    """True is not a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def points(comparison: Comparison, key: str) -> Points:
    """SHOWN_METRIC of every finished run."""
    found: Points = {}
    for heading, rows in comparison.groups.items():
        for row in rows:
            if row[SHOWN_METRIC] is not None:
                found.setdefault(heading, {}).setdefault(float(row[key]), []).append(row[SHOWN_METRIC])
    return found
