"""A matrix of evaluations, checkpoints by corpora: AUROC of each pair with its interval, and leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.io import write_csv, write_json
from deepfake.reports.html import TextConsole, TextTable, png_uri, with_interval, write_page
from deepfake.reports.plots import plot_matrix
from deepfake.reports.runs import DONE, Run, describe_leaks, read_json
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
    """One evaluation.

    leaks: what the tested videos share with training and selection, in words. metrics: those of metrics.json,
    without their stage. own: whether the checkpoint was trained on this protocol.
    """

    run: Path
    status: str
    error: str
    checkpoint: str
    stage: str
    metrics: Mapping[str, Any]
    leaks: tuple[str, ...]
    train_name: str
    train_hash: str
    test_hash: str

    @property
    def own(self) -> bool:
        """Whether training and test used the same protocol."""
        return bool(self.test_hash) and self.train_hash == self.test_hash

    def interval(self, rate: str) -> Interval | None:
        """The bootstrap interval of a rate, if it has one."""
        low, high = (self.metrics.get(f"{rate}_{end}") for end in ("low", "high"))
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Names of the rows (what checkpoints were trained on) and columns (what was tested), and their cells."""

    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Cell]

    @property
    def values(self) -> np.ndarray:
        """RATE of every cell, (rows, columns) float64; nan where it is undefined."""
        values = np.full((len(self.rows), len(self.columns)), np.nan)
        for (row, column), cell in self.cells.items():
            if (value := cell.metrics.get(RATE)) is not None:
                values[self.rows.index(row), self.columns.index(column)] = value
        return values

    def text(self, row: str, column: str) -> str:
        """RATE with its interval, or how the evaluation ended; a dagger marks leaks."""
        cell = self.cells.get((row, column))
        if cell is None:
            return ""
        if cell.status != DONE:
            return cell.status
        return with_interval(cell.metrics.get(RATE), cell.interval(RATE)) + (" †" if cell.leaks else "")


def matrix_of(runs: Sequence[Run]) -> Matrix:
    """The matrix of evaluations; rows and columns in the order of the runs."""
    cells = [cell_of(run) for run in runs]
    common = set.intersection(*(set(run.overrides) for run in runs))
    tested = [
        tuple(o for o in run.overrides if o not in common and not o.startswith("checkpoint=")) for run in runs
    ]
    paths = [cell.checkpoint for cell in cells]
    rows = names(paths, [cell.train_name for cell in cells], [checkpoint_name(path) for path in paths])
    columns = names(tested, [run.protocol for run in runs], [" ".join(own) for own in tested])
    return Matrix(
        rows=list(dict.fromkeys(rows)),
        columns=list(dict.fromkeys(columns)),
        cells=dict(zip(zip(rows, columns, strict=True), cells, strict=True)),
    )


def cell_of(run: Run) -> Cell:
    """What an evaluation left in its folder."""
    audit = read_json(run.folder / "leaks.json")
    trained_on = audit.get("trained_by") or {}
    prefix = f"{run.stage}/"
    return Cell(
        run=run.folder,
        status=run.status.status,
        error=run.status.error,
        checkpoint=str(run.setting("checkpoint")),
        stage=run.stage,
        metrics={k.removeprefix(prefix): v for k, v in run.metrics.items() if k.startswith(prefix)},
        leaks=describe_leaks(audit),
        train_name=trained_on.get("name", ""),
        train_hash=trained_on.get("hash", ""),
        test_hash=run.protocol_hash,
    )


def checkpoint_name(checkpoint: str) -> str:
    """The name of a checkpoint's run folder, with the name of the checkpoint unless it is the best one."""
    path = Path(checkpoint)
    if path.parent.name != "checkpoints":
        return path.stem
    return path.parents[1].name + ("" if path.stem == "best" else f"/{path.stem}")


def names(keys: Sequence[Hashable], short: Sequence[str], longer: Sequence[str]) -> list[str]:
    """A name for each key: its short name, followed by its long one if two keys have the same short name.

    Keys that have both names in common are numbered.
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
    """Write matrix.csv and matrix.json with every cell, matrix.png and matrix.html."""
    rows = cell_rows(matrix)
    write_csv(folder / "matrix.csv", COLUMNS, rows)
    values = [[None if np.isnan(v) else v for v in own] for own in matrix.values.tolist()]
    content = {"rate": RATE, "train": matrix.rows, "test": matrix.columns, "values": values, "cells": rows}
    write_json(folder / "matrix.json", content)
    texts = [[matrix.text(row, column) for column in matrix.columns] for row in matrix.rows]
    plot_matrix(matrix.values, texts, matrix.rows, matrix.columns, folder / "matrix.png")
    write_page(
        folder / "matrix.html",
        "matrix.html.j2",
        title=f"{len(matrix.rows)} checkpoints on {len(matrix.columns)} corpora",
        picture=png_uri(folder / "matrix.png"),
        matrix=matrix,
    )


def print_matrix(matrix: Matrix) -> None:
    """Print the AUROCs."""
    rows = [[row, *(matrix.text(row, column) for column in matrix.columns)] for row in matrix.rows]
    leaks = any(cell.leaks for cell in matrix.cells.values())
    caption = "† shares something with training or selection: see matrix.html" if leaks else ""
    table = TextTable(["trained on", *matrix.columns], rows)
    TextConsole().print(table.terminal(title="AUROC of videos", caption=caption, foldable=matrix.columns))


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
