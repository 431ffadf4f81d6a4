"""Predictions for other programs: predictions.csv, predictions.json, windows.parquet; one in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.io import atomic_path, csv_writer
from deepfake.scoring.prediction import Prediction

SCHEMA = "deepfake.predictions/2"
"""Of predictions.json, as predictions.schema.json beside this module describes it."""
SCHEMA_FILE = Path(__file__).with_name("predictions.schema.json")
COLUMNS = ("file", "status", "prob", "verdict", "tracks", "frames", "reason")
WINDOWS = pa.schema(
    [
        ("file", pa.string()),
        ("track", pa.int32()),
        ("start_frame", pa.int64()),
        ("end_frame", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("logit", pa.float64()),
        ("prob", pa.float64()),
    ]
)
ROWS_A_GROUP = 65_536

Write = Callable[[Prediction], object]


def write_predictions(run_dir: Path, header: Mapping[str, Any], predictions: Iterable[Prediction]) -> None:
    """Write all three into a run folder; header: what predictions.json says before its files.

    Files appear when they are whole; those of an earlier attempt are replaced.
    """
    with ExitStack() as stack:
        writes: list[Write] = [
            stack.enter_context(csv_rows(run_dir / "predictions.csv")),
            stack.enter_context(json_files(run_dir / "predictions.json", header)),
            stack.enter_context(window_rows(run_dir / "windows.parquet")),
        ]
        for prediction in predictions:
            for write in writes:
                write(prediction)


@contextmanager
def csv_rows(path: Path) -> Iterator[Write]:
    """A row a prediction."""
    with atomic_path(path) as part, text(part) as file:
        write_row = csv_writer(file, COLUMNS)
        yield lambda prediction: write_row(prediction.row())


@contextmanager
def json_files(path: Path, header: Mapping[str, Any]) -> Iterator[Write]:
    """The header's fields, then files: a line a prediction, so that a long list can be read by lines."""
    with atomic_path(path) as part, text(part) as file:
        file.write(json.dumps(dict(header), indent=1).removesuffix("\n}") + ',\n "files": [')
        between = "\n"

        def write(prediction: Prediction) -> None:
            nonlocal between
            file.write(f"{between}  {json.dumps(prediction.to_dict())}")
            between = ",\n"

        yield write
        file.write("\n ]\n}\n")


@contextmanager
def window_rows(path: Path) -> Iterator[Write]:
    """A row of WINDOWS for every window."""
    rows: list[dict[str, Any]] = []
    with atomic_path(path) as part, pq.ParquetWriter(part, WINDOWS) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, WINDOWS))
            rows.clear()

        def write(prediction: Prediction) -> None:
            rows.extend(windows_of(prediction))
            if len(rows) >= ROWS_A_GROUP:
                flush()

        yield write
        if rows:
            flush()


def windows_of(prediction: Prediction) -> Iterator[dict[str, Any]]:
    """Rows of WINDOWS."""
    for track in prediction.tracks:
        for window in track.windows:
            yield {
                "file": prediction.file,
                "track": track.track,
                "start_frame": window.start_frame,
                "end_frame": window.end_frame,
                "start_s": window.start_s,
                "end_s": window.end_s,
                "logit": window.logit,
                "prob": window.prob,
            }


def text(path: Path) -> IO[str]:
    """A text file to be written, with line ends as given."""
    return path.open("w", encoding="utf-8", newline="")
