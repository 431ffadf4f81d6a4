"""All tracked faces of one video as one Arrow table, and the square crops of frames that lie in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg

from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.io import package_version
from deepfake.records import VideoInfo

SCHEMA = pa.schema(
    [
        ("track", pa.int32()),  # 0 has the largest total area; main_face.py chooses the main face
        ("clip", pa.int32()),
        ("step", pa.int32()),  # place in the clip; neighbours differ by 1
        ("frame", pa.int64()),  # index in the video
        ("time_s", pa.float64()),
        ("box", pa.list_(pa.float32(), 4)),  # smoothed, xyxy pixels of the full frame
        ("landmarks", pa.list_(pa.float32(), 10)),  # x0 y0 … x4 y4, as detected
        ("score", pa.float32()),
        ("detected", pa.bool_()),  # on this very frame; else box, landmarks and score lie between two others'
        ("square", pa.list_(pa.int32(), 3)),  # what the crop shows: x0, y0, side in pixels of the full frame
        ("jpeg", pa.binary()),
    ]
)
LIBRARIES = ("facenet-pytorch", "torch", "decord", "av", "opencv-python-headless", "simplejpeg", "pyarrow")
METADATA_KEY = b"deepfake"
NO_FACE = "no face found in {} sampled frames"
FEW_BLOCKS, MANY_BLOCKS, BLOCK_BYTES = 8, 256, 1 << 14
MAX_NAME_BYTES = 200  # of 255: suffix, lock and unfinished file need room too


@dataclass(frozen=True, slots=True)
class SourceFile:
    """What a video file was when its faces were extracted.

    path: its real path. num_bytes, time_ns: its size and time of change. few_blocks, many_blocks: hashes of
    blocks that are spread over it; the second covers files up to 4 MiB as a whole.
    """

    path: str
    num_bytes: int
    time_ns: int
    few_blocks: str
    many_blocks: str

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """The file as it is now."""
        real, status = os.path.realpath(path), os.stat(path)
        few, many = (hash_blocks(path, status.st_size, num) for num in (FEW_BLOCKS, MANY_BLOCKS))
        return cls(real, status.st_size, status.st_mtime_ns, few, many)

    def is_content_of(self, path: Path) -> bool:
        """Whether a file has this content: a copy elsewhere does, a file of this name and size may not.

        Reads little of a file that has this path and time, and more of any other.
        """
        status = os.stat(path)
        if status.st_size != self.num_bytes:
            return False
        if (os.path.realpath(path), status.st_mtime_ns) == (self.path, self.time_ns):
            return hash_blocks(path, self.num_bytes, FEW_BLOCKS) == self.few_blocks
        return hash_blocks(path, self.num_bytes, MANY_BLOCKS) == self.many_blocks


def hash_blocks(path: Path, num_bytes: int, num_blocks: int) -> str:
    """Hash of blocks at even distances, the first and the last among them; of a small file all of it."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        if num_bytes <= num_blocks * BLOCK_BYTES:
            digest.update(file.read(num_bytes))
        else:
            for block in range(num_blocks):
                file.seek((num_bytes - BLOCK_BYTES) * block // (num_blocks - 1))
                digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()


@dataclass(frozen=True)
class VideoFaces:
    """Every tracked face of a video's sampled frames.

    table: rows of SCHEMA, ordered by track, clip, step. sampled: index in the video of each sampled frame,
    with or without a face. mask_shares: for each track, how much of the manipulated region it holds (see
    main_face.mask_shares); None if no mask was looked at, empty if it said nothing. source: the video file,
    by which another one and a changed one are noticed.
    """

    table: pa.Table
    info: VideoInfo
    settings: FaceSettings
    sampled: tuple[int, ...]
    mask_shares: tuple[float, ...] | None = None
    source: SourceFile | None = None

    @cached_property
    def track_rows(self) -> list[np.ndarray]:
        """For each track its rows in the table, in time order."""
        tracks = self.column("track")
        return np.split(np.arange(len(tracks)), np.flatnonzero(np.diff(tracks)) + 1) if len(tracks) else []

    @property
    def boxes(self) -> np.ndarray:
        """Every row's smoothed box, (R, 4) float32."""
        return self.table.column("box").combine_chunks().values.to_numpy().reshape(-1, 4)

    def column(self, name: str) -> np.ndarray:
        """A column of numbers as (R,) array."""
        return self.table.column(name).to_numpy()

    def jpegs(self, rows: Iterable[int]) -> list[bytes]:
        """The stored crops of some rows."""
        column = self.table.column("jpeg")
        return [column[int(row)].as_py() for row in rows]

    def with_metadata(self) -> pa.Table:
        """The table as it is written: everything else about it is in the schema's metadata, as JSON."""
        about: dict[str, Any] = {
            "info": asdict(self.info),
            "settings": self.settings.to_dict(),
            "sampled": list(self.sampled),
            "mask_shares": self.mask_shares,
            "source": asdict(self.source) if self.source else None,
            "versions": {name: package_version(name) for name in LIBRARIES},
        }
        return put_metadata(self.table, about)


def read_faces(path: Path) -> VideoFaces:
    """A file of such a table, memory-mapped: crops are read from the disk when they are needed."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    about = read_metadata(table.schema)
    shares = about["mask_shares"]
    return VideoFaces(
        table,
        VideoInfo(**about["info"]),
        FaceSettings.from_dict(about["settings"]),
        tuple(about["sampled"]),
        None if shares is None else tuple(shares),
        SourceFile(**about["source"]) if about["source"] else None,
    )


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as one chunk of SCHEMA."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_metadata(schema: pa.Schema) -> dict[str, Any]:
    """The JSON that with_metadata wrote; raises ValueError where there is none."""
    if not schema.metadata or METADATA_KEY not in schema.metadata:
        raise ValueError("no extraction metadata in the Arrow schema")
    return json.loads(schema.metadata[METADATA_KEY])


def put_metadata(table: pa.Table, about: dict[str, Any]) -> pa.Table:
    """The table with what read_metadata will return."""
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()})


def file_of(key: str) -> str:
    """A key's file below a store's root: "a/b" -> "faces/a/b.arrow".

    Names that are too long for a disk are shortened, and a hash keeps them distinct. Raises UserError for a
    key that leads out of the store.
    """
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts or "\0" in key:
        raise UserError(f"video {key!r}: not a key that a face store can have")
    return f"faces/{'/'.join(map(_cut, parts))}.arrow"


def _cut(name: str) -> str:
    raw = name.encode("utf-8", "backslashreplace")
    if len(raw) <= MAX_NAME_BYTES:
        return name
    return f"{raw[: MAX_NAME_BYTES - 17].decode('utf-8', 'ignore')}~{sha256(raw).hexdigest()[:16]}"


def smooth(boxes: np.ndarray, steps: np.ndarray, length: int) -> np.ndarray:
    """Moving average of boxes (T, 4) over frames at most length // 2 steps away, (T, 4) float32.

    The window shrinks symmetrically at the ends, so that a steadily moving face is not held back.
    """
    out = np.empty_like(boxes, dtype=np.float32)
    for row, step in enumerate(steps):
        reach = min(length // 2, step - steps[0], steps[-1] - step)
        out[row] = boxes[np.abs(steps - step) <= reach].mean(axis=0)
    return out


def square_around(box: np.ndarray, margin: float) -> tuple[int, int, int]:
    """(x0, y0, side) in pixels: centred on the box, margin times its longer side; may leave the frame."""
    side = max(2, round(float(max(box[2] - box[0], box[3] - box[1])) * margin))
    centre = (box[:2] + box[2:]) / 2
    return round(float(centre[0] - side / 2)), round(float(centre[1] - side / 2)), side


def region_of(squares: Sequence[tuple[int, int, int]], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a frame (height, width) that hold squares, as far as it reaches."""
    x0, y0, side = np.array(squares).T
    height, width = size
    rows = clamp(int(y0.min()), int((y0 + side).max()), height)
    return rows, clamp(int(x0.min()), int((x0 + side).max()), width)


def clamp(start: int, stop: int, size: int) -> slice:
    """The part of start to stop that lies in 0 to size, at least one place."""
    first = min(max(start, 0), size - 1)
    return slice(first, max(min(stop, size), first + 1))


def crop_square(frame: np.ndarray, square: tuple[int, int, int], max_px: int) -> np.ndarray:
    """The square of frame (H, W, 3) uint8, reduced to max_px if larger, never enlarged.

    What lies outside the frame repeats its edge.
    """
    x0, y0, side = square
    height, width = frame.shape[:2]
    x1, y1 = x0 + side, y0 + side
    inside = frame[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if inside.size == 0:
        raise ValueError(f"square {square} lies outside a frame of {width}x{height}")
    over = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    crop = cv2.copyMakeBorder(inside, *over, cv2.BORDER_REPLICATE) if any(over) else inside
    if side > max_px:
        crop = cv2.resize(crop, (max_px, max_px), interpolation=cv2.INTER_AREA)
    return crop


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """JPEG without chroma subsampling, since blending traces live in colour too."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(rgb), quality=quality, colorspace="RGB", colorsubsampling="444"
    )


def decode_jpeg(data: bytes) -> np.ndarray:
    """RGB (H, W, 3) uint8, bit-exact (no fast DCT)."""
    return simplejpeg.decode_jpeg(data, colorspace="RGB")
