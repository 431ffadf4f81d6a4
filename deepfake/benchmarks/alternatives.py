"""Other ways to keep the same crops: a folder of JPEG files, and float32 tensors."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from deepfake.faces.crop import decode_jpeg
from deepfake.faces.video_faces import VideoFaces

TENSOR_PX = 224
TENSOR_BYTES = TENSOR_PX * TENSOR_PX * 3 * 4


def write_jpeg_files(folder: Path, faces: VideoFaces) -> None:
    """Every stored crop, byte for byte, as <folder>/<row>.jpg."""
    folder.mkdir(parents=True)
    for row, jpeg in enumerate(faces.jpegs(range(len(faces.table)))):
        jpeg_file(folder, row).write_bytes(jpeg)


def jpeg_file(folder: Path, row: int) -> Path:
    """Where write_jpeg_files puts a row's crop."""
    return folder / f"{row:05}.jpg"


def write_tensors(path: Path, faces: VideoFaces) -> None:
    """Every stored crop at TENSOR_PX as one array (R, 3, H, W) float32 in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(faces.table), 3, TENSOR_PX, TENSOR_PX)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for row, jpeg in enumerate(faces.jpegs(range(len(faces.table)))):
        crop = cv2.resize(decode_jpeg(jpeg), (TENSOR_PX, TENSOR_PX), interpolation=cv2.INTER_AREA)
        array[row] = crop.transpose(2, 0, 1).astype(np.float32) / 255
    array.flush()


@lru_cache(maxsize=256)
def tensors(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped and kept open."""
    return np.load(path, mmap_mode="r")


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take on the disk, whole blocks."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def file_bytes(folder: Path) -> int:
    """What the files below a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
