"""The face store: one Arrow IPC file a video, each whole or absent, plus a manifest of what is in it.

<root>/faces/<video key>.arrow   crops and tracks of one video, its settings in the schema's metadata
<root>/manifest.parquet          a row a video: label, split, tracks, what was lost
<root>/lost.csv                  the videos that gave no face or could not be read, and why
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import VideoFaces, read_metadata
from deepfake.records import Video

MANIFEST_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("path", pa.string()),
        ("corpus", pa.string()),
        ("label", pa.int8()),
        ("method", pa.string()),
        ("split", pa.string()),
        ("identities", pa.list_(pa.string())),
        ("partner", pa.string()),
        ("num_frames", pa.int64()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sampled_frames", pa.int32()),
        ("face_frames", pa.int32()),
        (
            "tracks",
            pa.list_(pa.struct([("track", pa.int32()), ("frames", pa.int32()), ("side_px", pa.float32())])),
        ),
        ("reason", pa.string()),  # why a video gave nothing; empty if it gave faces
    ]
)
NO_FACE = "no face found in {} sampled frames"


@dataclass(frozen=True)
class FaceStore:
    """Crops of many videos below one folder, all made with the same settings."""

    root: Path
    settings: FaceSettings

    def path_of(self, key: str) -> Path:
        """Where a video's faces are or would be."""
        return self.root / "faces" / f"{key}.arrow"

    def has(self, key: str) -> bool:
        """Whether a video's faces are here, whole; raises UserError if they were made with other settings."""
        path = self.path_of(key)
        if not path.exists():
            return False
        try:
            with pa.memory_map(str(path)) as source:
                made_with = read_metadata(pa.ipc.open_file(source).schema)["settings"]
        except (pa.ArrowInvalid, ValueError, KeyError) as err:
            raise UserError(f"{path}: not a file of a face store ({err}); delete it and run again") from err
        if differences := FaceSettings.from_dict(made_with).differences(self.settings):
            raise UserError(
                f"the face store {self.root} was made with other settings (stored != wanted): {differences}. "
                "Name another data.store, or replace this one with faces.overwrite=true"
            )
        return True

    def write(self, key: str, faces: VideoFaces) -> None:
        """Keep a video's faces; the file appears only when it is whole."""
        replace_whole(self.path_of(key), lambda path: _write_arrow(path, faces.with_metadata()))

    def read(self, key: str) -> VideoFaces:
        """A video's faces; see read_faces."""
        return read_faces(self.path_of(key))

    def write_manifest(self, videos: Sequence[Video], failures: Mapping[str, str]) -> list[dict[str, Any]]:
        """Write manifest.parquet and lost.csv for these videos; returns the manifest's rows.

        failures: reason by key, for videos that could not be read.
        """
        rows = [self._manifest_row(video, failures) for video in videos]
        replace_whole(
            self.root / "manifest.parquet",
            lambda path: pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), path),
        )
        replace_whole(self.root / "lost.csv", lambda path: _write_lost(path, rows))
        return rows

    def read_manifest(self) -> list[dict[str, Any]]:
        """The rows that write_manifest wrote, in its order."""
        return pq.read_table(self.root / "manifest.parquet").to_pylist()

    def _manifest_row(self, video: Video, failures: Mapping[str, str]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "video": video.key,
            "path": str(video.path),
            "corpus": video.corpus,
            "label": video.label,
            "method": video.method,
            "split": video.split,
            "identities": list(video.identities),
            "partner": video.partner,
            "sampled_frames": 0,
            "face_frames": 0,
            "tracks": [],
            "reason": failures.get(video.key, ""),
        }
        if video.key in failures:
            return row
        faces = self.read(video.key)
        sides = faces.table.column("square").combine_chunks().values.to_numpy()[2::3]
        row |= {name: getattr(faces.info, name) for name in ("num_frames", "fps", "width", "height")}
        row |= {
            "sampled_frames": len(faces.sampled),
            "face_frames": faces.num_face_frames,
            "tracks": [
                {"track": track, "frames": len(rows), "side_px": float(sides[rows].mean())}
                for track, rows in enumerate(faces.track_rows)
            ],
            "reason": "" if len(faces.table) else NO_FACE.format(len(faces.sampled)),
        }
        return row


def read_faces(path: Path) -> VideoFaces:
    """A store file, memory-mapped: crops are read from disk when they are asked for."""
    with pa.memory_map(str(path)) as source:
        return VideoFaces.from_table(pa.ipc.open_file(source).read_all())


def replace_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call write(temporary path) and put the result at path in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_arrow(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _write_lost(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "sampled_frames", "frames_without_face", "reason"])
        for row in rows:
            without = row["sampled_frames"] - row["face_frames"]
            if row["reason"] or without:
                reason = row["reason"] or "no face found on some frames"
                writer.writerow([row["video"], row["sampled_frames"], without, reason])
