"""The face store: one Arrow IPC file a video, each whole or absent, plus a manifest of what is in it.

<root>/faces/<video key>.arrow   crops and tracks of one video, its settings in the schema's metadata
<root>/manifest.parquet          a row a video: label, split, tracks, main face, what was lost
<root>/lost.csv                  the videos that gave no face or not the right one or that could not be
                                 read, and why
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.errors import UserError
from deepfake.faces.main_face import check_rule, choose
from deepfake.faces.remote_store import fetch
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import (
    NO_FACE,
    SourceFile,
    VideoFaces,
    file_of,
    put_metadata,
    read_faces,
    read_metadata,
)
from deepfake.io import DISK_FULL, atomic_path, file_lock, storable, write_csv
from deepfake.records import FAKE, Video

TRACK = pa.struct(
    [
        ("track", pa.int32()),
        ("frames", pa.int32()),
        ("side_px", pa.float32()),
        ("share", pa.float32()),  # of the mask, or IoU with the partner; null by size
    ]
)
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
        ("tracks", pa.list_(TRACK)),
        ("main", pa.int32()),  # the track to train on; null if none shows the manipulated face
        ("main_by", pa.string()),  # "mask", "partner" or "size"; empty without tracks
        ("reason", pa.string()),  # why a video gave nothing; empty if it gave faces
    ]
)
LOST_COLUMNS = ("video", "sampled_frames", "frames_without_face", "lost", "reason")
MISSED = "the manipulated face was not tracked: the best track holds {:.0%} of the mask"


@dataclass(frozen=True)
class FaceStore:
    """Crops of many videos, all made with the same settings.

    parts: where the crops of joined corpora are, each in its own store; a key "<part>/<key>" is a file there.
    urls: where those parts really lie ("" is the root) whose folder here only holds copies.
    """

    root: Path
    settings: FaceSettings
    parts: Mapping[str, Path] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_folders(self) -> list[Path]:
        """Where its files are made: the root and the parts' roots, without copies of what lies elsewhere."""
        return [folder for part, folder in {"": self.root, **self.parts}.items() if part not in self.urls]

    def absolute(self) -> FaceStore:
        """The same store for a process that was started in another folder."""
        parts = {name: root.absolute() for name, root in self.parts.items()}
        return replace(self, root=self.root.absolute(), parts=parts)

    def check_writable(self, keys: Sequence[str]) -> None:
        """Make the folders that these videos need; raises UserError if nothing can be written there."""
        owners = {self.split_key(key)[0] for key in keys}
        for folder in [self.root, *(self.parts[part] for part in sorted(owners) if part)]:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                TemporaryFile(dir=folder).close()
            except OSError as err:
                if err.errno not in DISK_FULL:
                    raise UserError(f"the face store {folder} cannot be written: {err}") from err

    def path_of(self, key: str) -> Path:
        """Where a video's faces are or would be."""
        part, own_key = self.split_key(key)
        return (self.parts[part] if part else self.root) / file_of(own_key)

    def split_key(self, key: str) -> tuple[str, str]:
        """The part that a video belongs to ("" is the root) and its key there."""
        part, _, rest = key.partition("/")
        return (part, rest) if part in self.parts else ("", key)

    def url_of(self, key: str) -> str | None:
        """Where a video's faces really lie; None if that is here."""
        return self.urls.get(self.split_key(key)[0])

    def fetch(self, keys: Sequence[str]) -> dict[str, str]:
        """Copy what is lacking here of the videos that really lie elsewhere; see remote_store.fetch."""
        reasons: dict[str, str] = {}
        for part, url in self.urls.items():
            owned = {own: key for key in keys for owner, own in [self.split_key(key)] if owner == part}
            found = fetch(url, list(owned), self.parts[part] if part else self.root) if owned else {}
            reasons |= {owned[own]: reason for own, reason in found.items()}
        return reasons

    def has(self, key: str, source: Path, *, overwrite: bool = False) -> bool:
        """Whether the faces of this video file are here, whole.

        Those of another file under the same key, which its content shows, are not. Raises UserError if they
        were made with other settings, unless such are to be overwritten.
        """
        path = self.path_of(key)
        if not path.exists():
            return False
        try:
            about = read_about(path)
            made_with, made_of = about["settings"], about["source"]
        except (pa.ArrowInvalid, ValueError, KeyError) as err:
            raise UserError(f"{path}: not a file of a face store ({err}); delete it and run again") from err
        if differences := FaceSettings.from_dict(made_with).differences(self.settings):
            if overwrite:
                return False
            raise UserError(
                f"the face store {self.root} was made with other settings (stored != wanted): {differences}. "
                "Name another data.store, or replace this one with faces.overwrite=true"
            )
        return made_of is not None and SourceFile(**made_of).is_content_of(source)

    def write(self, key: str, faces: VideoFaces) -> None:
        """Keep a video's faces; the file appears only when it is whole."""
        with atomic_path(self.path_of(key), durable=True) as part:
            write_arrow(part, faces.with_metadata())

    def lacks_mask_shares(self, key: str) -> bool:
        """Whether no mask was looked at when the video's file was written; reads its metadata only."""
        return read_about(self.path_of(key))["mask_shares"] is None

    def add_mask_shares(self, key: str, shares: Sequence[float]) -> None:
        """Write the video's file anew with these shares; all else, its library versions too, stays."""
        path = self.path_of(key)
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        about = read_metadata(table.schema) | {"mask_shares": list(shares)}
        with atomic_path(path, durable=True) as part:
            write_arrow(part, put_metadata(table, about))

    def read(self, key: str) -> VideoFaces:
        """A video's faces; see read_faces."""
        return read_faces(self.path_of(key))

    def write_manifest(
        self, videos: Sequence[Video], failures: Mapping[str, str], main_face: str = "mask"
    ) -> list[dict[str, Any]]:
        """Write manifest.parquet and lost.csv for these videos; returns the manifest's rows.

        failures: reason by key, for videos that could not be read. main_face: rule by which a video's main
        track is chosen, see choose; partners are looked for among these videos. Raises UserError for an
        unknown rule.
        """
        check_rule(main_face)
        readable = {video.key for video in videos} - failures.keys()
        rows = []
        for video in videos:
            found: dict[str, Any] = {"reason": storable(failures.get(video.key, ""))}
            if video.key in readable:
                has_partner = video.label == FAKE and video.partner in readable and main_face == "partner"
                partner = self.read(video.partner) if has_partner and video.partner else None
                found = row_of_faces(self.read(video.key), main_face, partner)
            rows.append(row_of_video(video) | found)
        manifest, lost = self.root / "manifest.parquet", self.root / "lost.csv"
        # the locks keep another process from removing the unfinished files as stale ones
        with file_lock(manifest, wait=True), file_lock(lost, wait=True):
            with atomic_path(manifest, durable=True) as part:
                pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), part)
            write_csv(lost, LOST_COLUMNS, lost_rows(rows))
        return rows


def row_of_video(video: Video) -> dict[str, Any]:
    """What a manifest row says of a video whose faces are unknown."""
    row = {name: getattr(video, name) for name in ("corpus", "label", "method", "split", "partner")}
    none = {"sampled_frames": 0, "face_frames": 0, "tracks": [], "main": None, "main_by": ""}
    own = {"video": video.key, "path": storable(str(video.path)), "identities": list(video.identities)}
    return row | own | none


def row_of_faces(faces: VideoFaces, main_face: str, partner: VideoFaces | None) -> dict[str, Any]:
    """What a manifest row says of a video's faces; main_face, partner: see choose."""
    choice = choose(faces, rule=main_face, partner=partner)
    shares = choice.shares or [None] * len(faces.track_rows)
    sides = faces.table.column("square").combine_chunks().values.to_numpy()[2::3]
    return {name: getattr(faces.info, name) for name in ("num_frames", "fps", "width", "height")} | {
        "sampled_frames": len(faces.sampled),
        "face_frames": len(np.unique(faces.column("frame"))),
        "tracks": [
            {"track": track, "frames": len(rows), "side_px": float(sides[rows].mean()), "share": share}
            for track, (rows, share) in enumerate(zip(faces.track_rows, shares, strict=True))
        ],
        "main": choice.track,
        "main_by": choice.by,
        "reason": "" if len(faces.table) else NO_FACE.format(len(faces.sampled)),
    }


def read_about(path: Path) -> dict[str, Any]:
    """What a store file says of itself, without its rows."""
    with pa.memory_map(str(path)) as source:
        return read_metadata(pa.ipc.open_file(source).schema)


def loss_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """What kind of loss a manifest row tells of, and the reason in full; both empty if nothing was lost."""
    without = row["sampled_frames"] - row["face_frames"]
    if row["reason"]:
        return ("no face" if row["sampled_frames"] else "unreadable"), row["reason"]
    if missed := missed_face(row):
        return "manipulated face missed", missed
    return ("frames without face", f"no face found on {without} frames") if without else ("", "")


def missed_face(row: Mapping[str, Any]) -> str:
    """Why a manifest row has tracks and yet no main face; empty if it has one, or no track."""
    if row["main"] is not None or not row["tracks"]:
        return ""
    return MISSED.format(max(track["share"] for track in row["tracks"]))


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as an Arrow IPC file."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def lost_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of lost.csv for those of a manifest."""
    lost = []
    for row in rows:
        kind, reason = loss_of(row)
        if kind:
            frames = row["sampled_frames"]
            lost.append((row["video"], frames, frames - row["face_frames"], kind, reason))
    return [dict(zip(LOST_COLUMNS, values, strict=True)) for values in lost]
