"""Tables of evaluations in two dimensions: checkpoints by corpora, with leaks; distortions by levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.io import write_csv, write_json
from deepfake.reports.html import TextConsole, TextTable, interval_of, png_uri, with_interval, write_page
from deepfake.reports.plots import plot_matrix, plot_robustness
from deepfake.reports.runs import DONE, Run, describe_leaks, read_json

RATE = "video_auroc"
FIGURES = ("video_auroc", "video_eer", "video_ap", "video_balanced_accuracy", "every_video_auroc")
COLUMNS = (
    *("train", "test", "split", "status", "videos", "coverage"),
    *(f"{rate}{end}" for rate in FIGURES for end in ("", "_low", "_high")),
    *("leaks", "checkpoint", "train_hash", "test_hash", "run", "error"),
)
ROBUSTNESS_COLUMNS = (
    *("distortion", "level", "setting", "reals_called_fake", "fakes_called_real"),
    *("videos", "coverage"),
    *(
        f"video_{rate}{end}"
        for rate in ("auroc", "eer", "accuracy", "balanced_accuracy")
        for end in ("", "_low", "_high")
    ),
)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Evaluations (rows of COLUMNS) by what their checkpoint was trained on and by what was tested."""

    cells: dict[tuple[str, str], Row]

    @property
    def rows(self) -> list[str]:
        """What the checkpoints were trained on."""
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[str]:
        """What was tested."""
        return list(dict.fromkeys(column for _, column in self.cells))

    @property
    def values(self) -> np.ndarray:
        """RATE of every cell, (rows, columns) float64; nan where it is undefined."""
        cells = [[self.cells.get((row, column), {}) for column in self.columns] for row in self.rows]
        return np.array([[cell.get(RATE) for cell in own] for own in cells], np.float64)

    @property
    def texts(self) -> list[list[str]]:
        """RATE of every cell with its interval, or how the evaluation ended; a dagger marks leaks."""
        return [[self.text(row, column) for column in self.columns] for row in self.rows]

    def text(self, row: str, column: str) -> str:
        """That of one cell."""
        cell = self.cells.get((row, column))
        if cell is None:
            return ""
        if cell["status"] != DONE:
            return cell["status"]
        return with_interval(cell[RATE], interval_of(cell, RATE)) + (" †" if cell["leaks"] else "")


def matrix_of(runs: Sequence[Run]) -> Matrix:
    """The matrix of evaluations; rows and columns in the order of the runs."""
    common = set.intersection(*(set(run.overrides) for run in runs))
    tested = [
        tuple(o for o in run.overrides if o not in common and not o.startswith("checkpoint=")) for run in runs
    ]
    audits = [read_json(run.folder / "leaks.json") for run in runs]
    training = [audit.get("trained_by") or {} for audit in audits]
    paths = [str(run.setting("checkpoint")) for run in runs]
    rows = names(paths, [own.get("name", "") for own in training], [checkpoint_name(path) for path in paths])
    columns = names(tested, [run.protocol for run in runs], [" ".join(own) for own in tested])
    return Matrix(
        {
            (row, column): {
                "train": row,
                "test": column,
                "split": run.stage,
                "status": run.status.status,
                **{name: run.metrics.get(f"{run.stage}/{name}") for name in COLUMNS[4:-6]},
                "leaks": "; ".join(describe_leaks(audit)),
                "checkpoint": path,
                "train_hash": own.get("hash", ""),
                "test_hash": run.protocol_hash,
                "run": run.folder.name,
                "error": run.status.error,
            }
            for row, column, run, audit, own, path in zip(
                rows, columns, runs, audits, training, paths, strict=True
            )
        }
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
    cells, rows, columns = list(matrix.cells.values()), matrix.rows, matrix.columns
    write_csv(folder / "matrix.csv", COLUMNS, cells)
    values = [[None if np.isnan(v) else v for v in own] for own in matrix.values.tolist()]
    content = {"rate": RATE, "train": rows, "test": columns, "values": values, "cells": cells}
    write_json(folder / "matrix.json", content)
    plot_matrix(matrix.values, matrix.texts, rows, columns, folder / "matrix.png")
    write_page(
        folder / "matrix.html",
        "matrix.html.j2",
        title=f"{len(rows)} checkpoints on {len(columns)} corpora",
        picture=png_uri(folder / "matrix.png"),
        matrix=matrix,
    )


def print_matrix(matrix: Matrix) -> None:
    """Print the AUROCs."""
    rows = [[row, *texts] for row, texts in zip(matrix.rows, matrix.texts, strict=True)]
    leaks = any(cell["leaks"] for cell in matrix.cells.values())
    caption = "† shares something with training or selection: see matrix.html" if leaks else ""
    table = TextTable(["trained on", *matrix.columns], rows)
    TextConsole().print(table.terminal(title="AUROC of videos", caption=caption, foldable=matrix.columns))


def write_robustness(run_dir: Path, rows: Sequence[Row], source: Mapping[str, Any]) -> None:
    """Write robustness.png and report.html, and print the AUROCs.

    rows: of ROBUSTNESS_COLUMNS, the clean one first. source: checkpoint, split, protocol, protocol_hash and
    threshold.
    """
    by_level = sorted(rows[1:], key=lambda row: row["level"])
    names = dict.fromkeys(row["distortion"] for row in rows[1:])
    distortions = {
        name.replace("_", " "): [rows[0], *(row for row in by_level if row["distortion"] == name)]
        for name in names
    }
    keys = {"auroc": "video_auroc", "low": "video_auroc_low", "high": "video_auroc_high"}
    keys |= {"level": "level", "balanced_accuracy": "video_balanced_accuracy"}
    curves = {
        name: {curve: np.array([row[key] for row in own], np.float64) for curve, key in keys.items()}
        for name, own in distortions.items()
    }
    plot_robustness(curves, run_dir / "robustness.png")
    levels = sorted({row["level"] for row in rows})
    lines = []
    for name, own in distortions.items():
        cells = {row["level"]: with_interval(row["video_auroc"]) for row in own}
        lines.append([name, *(cells.get(level, "") for level in levels)])
    table = TextTable(["AUROC of videos", *(f"level {n}" if n else "clean" for n in levels)], lines)
    write_page(
        run_dir / "report.html",
        "robustness.html.j2",
        title=f"Robustness on the {source['split']} split of {source['protocol']}",
        source=source,
        clean=rows[0],
        picture=png_uri(run_dir / "robustness.png"),
        table=table,
        rows=rows[1:],
    )
    TextConsole().print(table.terminal())
