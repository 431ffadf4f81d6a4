"""Stored crops as the input of a detector: its part of each crop, at its size, as a tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from deepfake.faces.video_faces import VideoFaces, decode_jpeg
from deepfake.records import InputSpec


def window_crops(faces: VideoFaces, rows: Iterable[int], spec: InputSpec) -> np.ndarray:
    """Crops of some rows of a video's faces as the model sees them, (T, size, size, 3) uint8."""
    margin = faces.settings.margin
    return np.stack([fit(decode_jpeg(jpeg), spec, stored_margin=margin) for jpeg in faces.jpegs(rows)])


def window_landmarks(faces: VideoFaces, rows: Sequence[int], spec: InputSpec) -> np.ndarray:
    """The five landmarks in the pixels of window_crops, (T, 5, 2) float32."""
    points, squares = (
        np.stack([column[row].values.to_numpy() for row in rows])
        for column in (faces.table.column("landmarks"), faces.table.column("square"))
    )
    settings = faces.settings
    return np.stack(
        [
            fit_points(p, s, spec, stored_margin=settings.margin, max_crop_px=settings.max_crop_px)
            for p, s in zip(points.reshape(-1, 5, 2), squares, strict=True)
        ]
    )


def to_tensor(frames: np.ndarray) -> Tensor:
    """Frames (T, H, W, 3) -> (T, 3, H, W), contiguous."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


def fit(crop: np.ndarray, spec: InputSpec, *, stored_margin: float) -> np.ndarray:
    """The centre of a stored crop (S, S, 3) at the model's margin and size, (size, size, 3) uint8."""
    start, inner = centre_of(len(crop), spec, stored_margin)
    centre = crop[start : start + inner, start : start + inner]
    interpolation = cv2.INTER_AREA if inner > spec.size else cv2.INTER_LINEAR
    return cv2.resize(centre, (spec.size, spec.size), interpolation=interpolation)


def fit_points(
    points: np.ndarray, square: np.ndarray, spec: InputSpec, *, stored_margin: float, max_crop_px: int
) -> np.ndarray:
    """Positions of points of the full frame (N, 2) in the crop that fit returns, (N, 2) float32 pixels.

    square: x0, y0, side of the stored crop in the full frame. As with boxes, whole numbers are the edges
    between pixels: the first pixel's centre is 0.5.
    """
    side = int(square[2])
    stored = min(side, max_crop_px)
    start, inner = centre_of(stored, spec, stored_margin)
    in_stored = (np.asarray(points, np.float64) - square[:2]) * (stored / side)
    return ((in_stored - start) * (spec.size / inner)).astype(np.float32)


def centre_of(side: int, spec: InputSpec, stored_margin: float) -> tuple[int, int]:
    """First pixel and side of the part of a stored crop that the model sees."""
    inner = max(1, round(side * spec.margin / stored_margin))
    return (side - inner) // 2, inner
