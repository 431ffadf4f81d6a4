import csv
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from deepfake.training.loggers import AtomicCSVLogger, AtomicMetrics

FIRST = [{"loss": 0.5}, {"loss": 0.25}]
SAME_COLUMNS = [{"loss": 0.125}, {"loss": 0.0625}]
NEW_COLUMN = [{"loss": 0.125, "auroc": 0.75}, {"auroc": 1.0}]


@pytest.fixture
def writer(tmp_path: Path) -> AtomicMetrics:
    logger = AtomicCSVLogger(save_dir=str(tmp_path), name="logs")
    assert isinstance(logger.experiment, AtomicMetrics)
    return logger.experiment


def log(writer: AtomicMetrics, rows: list[dict[str, float]], *, first: int) -> None:
    for step, row in enumerate(rows, first):
        writer.log_metrics(row, step)


def read(writer: AtomicMetrics) -> list[dict[str, str]]:
    with open(writer.metrics_file_path, newline="") as file:
        return list(csv.DictReader(file))


def as_read(rows: list[dict[str, float]]) -> list[dict[str, str]]:
    columns = {name for row in rows for name in row} | {"step"}
    return [
        {name: str({**row, "step": step}.get(name, "")) for name in columns} for step, row in enumerate(rows)
    ]


@pytest.mark.parametrize("more", [SAME_COLUMNS, NEW_COLUMN])
def test_rows_are_added_under_whatever_columns_there_are(
    writer: AtomicMetrics, more: list[dict[str, float]]
) -> None:
    for first, rows in ((0, FIRST), (2, more)):
        log(writer, rows, first=first)
        writer.save()
        writer.save()
    assert read(writer) == as_read([*FIRST, *more])


@pytest.mark.parametrize(
    ("more", "written"), [*product([SAME_COLUMNS], range(3)), *product([NEW_COLUMN], range(5))]
)
def test_an_interrupted_save_loses_and_doubles_no_row(
    writer: AtomicMetrics, monkeypatch: pytest.MonkeyPatch, more: list[dict[str, float]], written: int
) -> None:
    log(writer, FIRST, first=0)
    writer.save()
    log(writer, more, first=2)
    write: Callable[..., Any] = csv.DictWriter.writerow
    left = iter(range(written, -1, -1))  # under new columns all rows are written, and a header

    def interrupted(self: Any, row: Any) -> None:
        if next(left) == 0:
            raise KeyboardInterrupt
        write(self, row)

    def all_interrupted(self: Any, rows: Any) -> None:
        for row in [*rows, {}]:
            interrupted(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(csv.DictWriter, "writerow", interrupted)
        patch.setattr(csv.DictWriter, "writerows", all_interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.save()
    writer.save()  # as the logger does when a training ends
    assert read(writer) == as_read([*FIRST, *more])
