"""Checkpoints against corpora: the AUROC of each pair, its interval, and what training had seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from deepfake.reports.html import TextConsole, write_csv, write_json
from deepfake.reports.metric_tables import with_interval
from deepfake.reports.runs import DONE, Run, read_json, told_leaks
from deepfake.scoring.bootstrap import Interval

RATE = "video_auroc"
FIGURES = ("video_auroc", "video_eer", "video_ap", "video_balanced_accuracy", "every_video_auroc")
COLUMNS = (
    *("train", "test", "split", "status", "videos", "coverage"),
    *(f"{rate}{end}" for rate in FIGURES for end in ("", "_low", "_high")),
    *("leaks", "checkpoint", "train_hash", "test_hash", "run", "error"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One evaluation. leaks: sentences on what of the tested videos stood in training and selection.

    metrics: of metrics.json without their stage. own: whether the checkpoint was trained by this protocol.
    """

    run: Path
    status: str
    error: str
    checkpoint: str
    stage: str
    metrics: Mapping[str, Any]
    leaks: tuple[str, ...]
    train_hash: str
    test_hash: str

    @property
    def own(self) -> bool:
        """Whether training and test follow the same protocol."""
        return bool(self.test_hash) and self.train_hash == self.test_hash

    def interval(self, rate: str) -> Interval | None:
        """Of a rate, if it has one."""
        low, high = (self.metrics.get(f"{rate}_{end}") for end in ("low", "high"))
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Names of the rows (what checkpoints were trained by) and columns (what was tested), and their cells."""

    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Cell]

    @property
    def values(self) -> np.ndarray:
        """RATE of every cell, (rows, columns) float64; nan where there is none."""
        found = [[self._value(row, column) for column in self.columns] for row in self.rows]
        return np.array(found, np.float64)

    def _value(self, row: str, column: str) -> float:
        value = self.cells[row, column].metrics.get(RATE) if (row, column) in self.cells else None
        return np.nan if value is None else value

    def text(self, row: str, column: str) -> str:
        """RATE with its interval, or how the evaluation ended; a dagger where something had been seen."""
        cell = self.cells.get((row, column))
        if cell is None:
            return ""
        if cell.status != DONE:
            return cell.status
        return with_interval(cell.metrics.get(RATE), cell.interval(RATE)) + (" †" if cell.leaks else "")


def matrix_of(runs: Sequence[Run]) -> Matrix:
    """The matrix of evaluations; rows and columns in the order in which they were asked for."""
    cells = [cell_of(run) for run in runs]
    common = set.intersection(*(set(run.overrides) for run in runs))
    asked = [
        tuple(o for o in run.overrides if o not in common and not o.startswith("checkpoint=")) for run in runs
    ]
    paths = [cell.checkpoint for cell in cells]
    rows = names(paths, [trained_by(run) for run in runs], [by_run(path) for path in paths])
    columns = names(asked, [run.protocol for run in runs], [" ".join(own) for own in asked])
    return Matrix(
        rows=list(dict.fromkeys(rows)),
        columns=list(dict.fromkeys(columns)),
        cells=dict(zip(zip(rows, columns, strict=True), cells, strict=True)),
    )


def cell_of(run: Run) -> Cell:
    """What an evaluation left in its folder."""
    stage = run.stage
    audit = read_json(run.folder / "leaks.json")
    prefix = f"{stage}/"
    return Cell(
        run=run.folder,
        status=run.status.status,
        error=run.status.error,
        checkpoint=str(run.setting("checkpoint")),
        stage=stage,
        metrics={k.removeprefix(prefix): v for k, v in run.metrics.items() if k.startswith(prefix)},
        leaks=told_leaks(audit),
        train_hash=(audit.get("trained_by") or {}).get("hash", ""),
        test_hash=run.protocol_hash,
    )


def trained_by(run: Run) -> str:
    """The protocol of the checkpoint's training; empty where it is not known."""
    return (read_json(run.folder / "leaks.json").get("trained_by") or {}).get("name", "")


def by_run(checkpoint: str) -> str:
    """Folder of the run that a checkpoint lies in, and which one it is there unless the best."""
    path = Path(checkpoint)
    if path.parent.name != "checkpoints":
        return path.stem
    return path.parents[1].name + ("" if path.stem == "best" else f"/{path.stem}")


def names(keys: Sequence[Hashable], short: Sequence[str], longer: Sequence[str]) -> list[str]:
    """A name for each key: any short one of it, and the longer one too where two keys share that.

    Keys that share both are numbered.
    """
    chosen: dict[Hashable, str] = {}
    for key, name in zip(keys, short, strict=True):
        chosen[key] = chosen.get(key) or name
    taken = list(chosen.values())
    spare = dict(zip(keys, longer, strict=True))
    full = {
        key: f"{name} ({spare[key]})" if name and taken.count(name) > 1 else name or spare[key]
        for key, name in chosen.items()
    }
    shared = Counter(full.values())
    place = {key: number for number, key in enumerate(full, start=1)}
    return [full[key] if shared[full[key]] == 1 else f"{full[key]} #{place[key]}" for key in keys]


def write_matrix(matrix: Matrix, folder: Path) -> None:
    """matrix.csv and matrix.json with every cell, matrix.png, matrix.html."""
    from deepfake.reports.html import png_uri, write_page
    from deepfake.reports.plots import plot_matrix

    rows = cell_rows(matrix)
    write_csv(folder / "matrix.csv", COLUMNS, rows)
    values = [[None if np.isnan(v) else v for v in own] for own in matrix.values.tolist()]
    whole = {"rate": RATE, "train": matrix.rows, "test": matrix.columns, "values": values, "cells": rows}
    write_json(folder / "matrix.json", whole)
    texts = [[matrix.text(row, column) for column in matrix.columns] for row in matrix.rows]
    plot_matrix(matrix.values, texts, matrix.rows, matrix.columns, folder / "matrix.png")
    write_page(
        folder / "matrix.html",
        "matrix.html.j2",
        title=f"{len(matrix.rows)} checkpoints on {len(matrix.columns)} corpora",
        picture=png_uri(folder / "matrix.png"),
        matrix=matrix,
        with_interval=with_interval,
    )


def print_matrix(matrix: Matrix) -> None:
    """The matrix on the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="AUROC of videos", title_justify="left")
    for name in ("trained by", *matrix.columns):
        table.add_column(name, overflow="fold")
    for row in matrix.rows:
        table.add_row(row, *(matrix.text(row, column) for column in matrix.columns))
    if any(cell.leaks for cell in matrix.cells.values()):
        table.caption = "† something of the tested videos stood in training or selection: see matrix.html"
        table.caption_justify = "left"
    TextConsole().print(table)


def cell_rows(matrix: Matrix) -> list[dict[str, Any]]:
    """Every cell in COLUMNS."""
    return [
        {
            "train": row,
            "test": column,
            "split": cell.stage,
            "status": cell.status,
            **{name: cell.metrics.get(name) for name in COLUMNS[4:-6]},
            "leaks": "; ".join(cell.leaks),
            "checkpoint": cell.checkpoint,
            "train_hash": cell.train_hash,
            "test_hash": cell.test_hash,
            "run": cell.run.name,
            "error": cell.error,
        }
        for (row, column), cell in matrix.cells.items()
    ]
