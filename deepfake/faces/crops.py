"""Boxes to crops: smoothing over time, and square cut-outs at full resolution."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg


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


def around(squares: Sequence[tuple[int, int, int]], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a frame (height, width) that hold squares, as far as it reaches."""
    x0, y0, side = np.array(squares).T
    height, width = size
    rows = within(int(y0.min()), int((y0 + side).max()), height)
    return rows, within(int(x0.min()), int((x0 + side).max()), width)


def within(start: int, stop: int, size: int) -> slice:
    """The part of start to stop that lies in 0 to size, at least one place."""
    first = min(max(start, 0), size - 1)
    return slice(first, max(min(stop, size), first + 1))


def cut(frame: np.ndarray, square: tuple[int, int, int], max_px: int) -> np.ndarray:
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
