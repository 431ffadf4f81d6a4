"""The appearance of faces and scenes as colour histograms: cheap, and mostly enough to tell people apart.

Colours change little with pose and expression, and between two people mostly a lot. No model is asked: two
people with similar skin, hair and light cannot be told apart here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from deepfake.faces.crops import square_around, within
from deepfake.records import Frames
from deepfake.video.decode import frame_size, resized_yuv

SIDE_PX = 32
SCENE_PX = (128, 72)
REACH = 1.25  # side of what is looked at, over the longer side of the box: forehead and chin too
WIDE, HIGH = 0.8, 1.0  # of the ellipse in it; its corners are background
BANDS = 2  # upper and lower half, since hair is above
# of Y, Cb and Cr: bins, and the colours from the first to behind the last one, where skin and hair are
FACE_BINS, FACE_COLOURS = [8, 8, 8], (96, 160)
SCENE_BINS, SCENE_COLOURS = [16, 8, 8], (64, 192)


def face_histogram(frames: Sequence[np.ndarray], place: int, box: np.ndarray) -> np.ndarray:
    """Histogram of a face (1024,) float32: frames (H, W, 3) uint8 RGB, box (4,) xyxy in pixels of one."""
    height, width = frame_size(frames, place)
    x0, y0, side = square_around(box, REACH)
    part = within(y0, y0 + side, height), within(x0, x0 + side, width)
    # averages over the whole of a large face would take ten times as long
    yuv = resized_yuv(frames, place, (2 * SIDE_PX, 2 * SIDE_PX), part, interpolation=cv2.INTER_LINEAR)
    yuv = cv2.resize(yuv, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    bands = [histogram(yuv, FACE_BINS, FACE_COLOURS, mask) for mask in band_masks()]
    return np.concatenate(bands) / np.float32(np.sqrt(BANDS))


def scene_histogram(frames: Sequence[np.ndarray], place: int) -> np.ndarray:
    """Histogram of a whole frame (1024,) float32."""
    # each pixel as it is: averages over many would hide a scene's colours
    yuv = resized_yuv(frames, place, SCENE_PX, interpolation=cv2.INTER_NEAREST)
    return histogram(yuv, SCENE_BINS, SCENE_COLOURS, None)


def histogram_distance(appearances: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of histograms (N, D) from others (M, D), (N, M) in [0, 1]; 1 where they share no colour."""
    both = np.clip(appearances @ others.T, 0, 1)  # Bhattacharyya's coefficient
    return np.sqrt(1 - both)


def histogram(
    yuv: np.ndarray, bins: list[int], colours: tuple[int, int], mask: np.ndarray | None
) -> np.ndarray:
    """Roots of the share of each colour, blur, (bins multiplied,) float32 of length 1."""
    low, high = colours
    channels = [yuv[..., 0], *(yuv[..., channel].clip(low, high - 1) for channel in (1, 2))]
    channels = [np.ascontiguousarray(channel) for channel in channels]
    counts = cv2.calcHist(channels, [0, 1, 2], mask, bins, [0, 256, low, high, low, high])
    for axis in range(3):
        # a little more light is a neighbouring colour, and no other one
        counts = blur(counts, axis)
    return np.sqrt(counts / counts.sum()).ravel()


def blur(counts: np.ndarray, axis: int) -> np.ndarray:
    """Each count twice and its neighbours' along an axis once; beyond the ends there is nothing."""
    along = np.moveaxis(counts, axis, 0)
    total = 2 * along
    total[1:] += along[:-1]
    total[:-1] += along[1:]
    return np.moveaxis(total, 0, axis)


@lru_cache(maxsize=1)
def band_masks() -> list[np.ndarray]:
    """Each band of the ellipse, (SIDE_PX, SIDE_PX) uint8."""
    y, x = (np.mgrid[0:SIDE_PX, 0:SIDE_PX] + 0.5) / SIDE_PX * 2 - 1
    inside = np.hypot(x / WIDE, y / HIGH) < 1
    return [(inside & (np.floor((y + 1) / 2 * BANDS) == band)).astype(np.uint8) for band in range(BANDS)]


def shot_boundaries(appearances: np.ndarray, max_distance: float) -> list[int]:
    """First frames of new shots: n where the histograms (N, D) of n - 1 and n are further apart than that."""
    neighbours = [
        float(histogram_distance(appearances[n : n + 1], appearances[n + 1 : n + 2])[0, 0])
        for n in range(len(appearances) - 1)
    ]
    return [n + 1 for n, distance in enumerate(neighbours) if distance > max_distance]


def scene_histograms(frames: Frames) -> np.ndarray:
    """Histogram of every frame, (N, D) float32."""
    return np.stack([scene_histogram(frames.rgb, place) for place in range(len(frames))])


def split_frames(frames: Frames, places: list[int]) -> list[Frames]:
    """The frames of each shot; places: first frames of new shots, ascending, none of them 0."""
    starts, stops = [0, *places], [*places, len(frames)]
    return [
        Frames(frames.rgb[start:stop], frames.index[start:stop], frames.time_s[start:stop])
        for start, stop in zip(starts, stops, strict=True)
    ]
