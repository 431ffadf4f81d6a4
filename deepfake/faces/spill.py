"""Crops of a video that has too many for memory: put aside in a file, then written in order as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa

from deepfake.faces.video_faces import SCHEMA, VideoFaces

SPILL_BYTES = 256 * 2**20
ROWS_AT_ONCE = 256

Row = dict[str, Any]


class Crops:
    """JPEGs, each under a number; beyond max_bytes in all they are in a file in folder that has no name.

    folder: None keeps all in memory. max_bytes: None is SPILL_BYTES.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int | None = None) -> None:
        self.folder = folder
        self.max_bytes = SPILL_BYTES if max_bytes is None else max_bytes
        self.num_bytes = 0
        self.held: list[bytes] = []
        self.spans: list[tuple[int, int]] = []  # first byte and length of each, in the file
        self.file: BinaryIO | None = None

    def __enter__(self) -> Crops:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()

    def put(self, jpeg: bytes) -> int:
        """Put one aside; returns its number."""
        self.spans.append((self.num_bytes, len(jpeg)))
        self.num_bytes += len(jpeg)
        self.held.append(jpeg)
        if self.folder is not None and (self.file is not None or self.num_bytes > self.max_bytes):
            if self.file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.file = TemporaryFile(dir=self.folder)  # noqa: SIM115 (closed on exit)
            self.file.writelines(self.held)
            self.held.clear()
        return len(self.spans) - 1

    def get(self, number: int) -> bytes:
        """The crop of a number."""
        if self.file is None:
            return self.held[number]
        start, length = self.spans[number]
        self.file.seek(start)
        return self.file.read(length)


def gathered(rows: Sequence[Row], crops: Crops, faces: VideoFaces, file: Path | None) -> VideoFaces:
    """faces, which has no rows yet, with these, of SCHEMA but for the crop's number instead of the crop.

    file: written, and read from then on, if the crops were too many for memory.
    """
    if crops.file is None or file is None:
        return replace(faces, table=with_crops(rows, crops, SCHEMA))
    schema = faces.with_metadata().schema
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            writer.write_table(with_crops(rows[start : start + ROWS_AT_ONCE], crops, schema))
    return VideoFaces.from_spilled(file)


def with_crops(rows: Sequence[Row], crops: Crops, schema: pa.Schema) -> pa.Table:
    """Rows as a table, each with the crop of its number."""
    return pa.Table.from_pylist([row | {"jpeg": crops.get(row["jpeg"])} for row in rows], schema=schema)
