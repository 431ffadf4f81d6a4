import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.reports.matrix import matrix_of, names, write_matrix
from deepfake.reports.runs import NOT_AUDITED, read_run

WriteRun = Callable[..., Path]
A, B = "outputs/a/checkpoints/best.ckpt", "outputs/b/checkpoints/best.ckpt"


@pytest.fixture
def evaluated(write_run: WriteRun) -> Callable[..., Path]:
    """An evaluation as its job leaves it."""

    def write(
        name: str,
        *,
        checkpoint: str,
        data: str,
        auroc: float | None = None,
        trained: str | None = "ffpp",
        seen: int = 0,
        status: str = "done",
    ) -> Path:
        run = write_run(
            name,
            overrides=(f"checkpoint={checkpoint}", f"data={data}"),
            config={"checkpoint": checkpoint, "split": "test"},
            status={"status": status, "error": "" if status == "done" else "data.root=none: no such folder"},
        )
        if status == "done":
            told = {"protocol": f"{data}/official", "protocol_hash": data}
            figures = {"test/video_auroc": auroc, "test/video_auroc_low": 0.5, "test/video_auroc_high": 1.0}
            (run / "metrics.json").write_text(json.dumps({**told, **figures, "test/coverage": 1.0}))
            share = {"shared": seen, "of": 4, "share": seen / 4, "examples": []}
            audit: dict[str, Any] = {
                **told,
                "overlaps": {"test in the training": {"identities": share}} if trained else {},
                "trained_by": {"name": f"{trained}/official", "hash": trained} if trained else None,
            }
            (run / "leaks.json").write_text(json.dumps(audit))
        return run

    return write


def test_every_pair_stands_in_its_cell_whatever_the_order_of_the_jobs(
    evaluated: Callable[..., Path], tmp_path: Path
) -> None:
    jobs = [
        evaluated("0", checkpoint=A, data="ffpp", auroc=0.9, seen=1),
        evaluated("1", checkpoint=A, data="celebdf", auroc=0.7),
        evaluated("2", checkpoint=B, data="ffpp", auroc=0.6, trained="celebdf"),
        evaluated("3", checkpoint=B, data="celebdf", status="mistake"),
    ]
    matrix = matrix_of([read_run(jobs[place]) for place in (0, 1, 2, 3)])
    assert matrix.rows == ["ffpp/official", "celebdf/official"]
    assert matrix.columns[0] == "ffpp/official"
    assert np.array_equal(matrix.values, [[0.9, 0.7], [0.6, np.nan]], equal_nan=True)
    texts = [[matrix.text(row, column) for column in matrix.columns] for row in matrix.rows]
    assert texts == [["0.900 (0.500–1.000) †", "0.700 (0.500–1.000)"], ["0.600 (0.500–1.000)", "mistake"]]
    assert matrix.cells["ffpp/official", "ffpp/official"]["leaks"] == "1 of 4 people"
    write_matrix(matrix, tmp_path)
    assert (tmp_path / "matrix.html").read_text().count("<small>same protocol</small>") == 1
    with (tmp_path / "matrix.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["train"], row["video_auroc"], row["leaks"], row["error"]) for row in rows] == [
        ("ffpp/official", "0.9", "1 of 4 people", ""),
        ("ffpp/official", "0.7", "", ""),
        ("celebdf/official", "0.6", "", ""),
        ("celebdf/official", "", "", "data.root=none: no such folder"),
    ]
    whole = json.loads((tmp_path / "matrix.json").read_text())
    assert whole["values"] == [[0.9, 0.7], [0.6, None]]


def test_two_checkpoints_of_one_protocol_are_told_apart_by_their_runs(evaluated: Callable[..., Path]) -> None:
    runs = [
        evaluated(name, checkpoint=f"outputs/{name}/checkpoints/best.ckpt", data="ffpp", auroc=0.9)
        for name in ("monday", "tuesday")
    ]
    matrix = matrix_of([read_run(run) for run in runs])
    assert matrix.rows == ["ffpp/official (monday)", "ffpp/official (tuesday)"]
    assert matrix.columns == ["ffpp/official"]


def test_a_checkpoint_that_cannot_be_audited_is_marked(evaluated: Callable[..., Path]) -> None:
    run = evaluated("0", checkpoint="old.ckpt", data="ffpp", auroc=0.9, trained=None)
    (cell,) = matrix_of([read_run(run)]).cells.values()
    assert cell["leaks"] == NOT_AUDITED


def test_names_are_as_short_as_they_can_be() -> None:
    assert names(["k", "l", "k"], ["", "y", "x"], ["1", "2", "1"]) == ["x", "y", "x"]
    assert names(["k", "l"], ["x", "x"], ["1", "2"]) == ["x (1)", "x (2)"]
    assert names(["k", "l", "k"], ["x", "x", "x"], ["1", "1", "1"]) == ["x (1) #1", "x (1) #2", "x (1) #1"]
    assert names(["k", "l"], ["", "y"], ["1", "2"]) == ["1", "y"]


@pytest.mark.parametrize("width", [1280, 400])
def test_its_page_opens_without_errors_or_requests(
    evaluated: Callable[..., Path], tmp_path: Path, look: Callable[..., Any], width: int
) -> None:
    runs = [
        evaluated("0", checkpoint="a.ckpt", data="ffpp", auroc=0.9, seen=1),
        evaluated("1", checkpoint="a.ckpt", data="celebdf", status="failed"),
    ]
    write_matrix(matrix_of([read_run(run) for run in runs]), tmp_path)
    seen = look(tmp_path / "matrix.html", width=width)
    assert (seen.errors, seen.requests, seen.too_wide_px) == ([], [], 0)
    assert seen.headings == (
        "1 checkpoints on 2 corpora",
        "Every evaluation",
        "Leaks",
        "Checkpoints",
    )
