"""Association: which boxes of one shot are one face, by position, movement and appearance.

Appearance is a colour histogram: cheap, and mostly enough to tell people apart. Colours change little with
pose and expression, and between two people mostly a lot; people with similar skin, hair and light cannot be
told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import correlate1d
from scipy.optimize import linear_sum_assignment

from deepfake.faces.video_faces import clamp, square_around
from deepfake.records import Detections
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
    part = clamp(y0, y0 + side, height), clamp(x0, x0 + side, width)
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


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Distance of two histograms (D,) in [0, 1]."""
    return float(histogram_distance(one[None], other[None])[0, 0])


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
        counts = correlate1d(counts, [1, 2, 1], axis, mode="constant")
    return np.sqrt(counts / counts.sum()).ravel()


@lru_cache(maxsize=1)
def band_masks() -> list[np.ndarray]:
    """Each band of the ellipse, (SIDE_PX, SIDE_PX) uint8."""
    y, x = (np.mgrid[0:SIDE_PX, 0:SIDE_PX] + 0.5) / SIDE_PX * 2 - 1
    inside = np.hypot(x / WIDE, y / HIGH) < 1
    return [(inside & (np.floor((y + 1) / 2 * BANDS) == band)).astype(np.uint8) for band in range(BANDS)]


Tracklet = dict[int, int]
"""One face within one clip: step in the clip -> row in that frame's detections."""


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) with others (M, 4), xyxy -> (N, M) in [0, 1]."""
    both = shared_area(boxes, others)
    area, other_area = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others))
    return both / (area[:, None] + other_area[None] - both)


def shared_area(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that boxes (N, 4) share with others (M, 4), (N, M)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=2)


def covered(boxes: np.ndarray) -> np.ndarray:
    """For each of the boxes (N, 4) of one frame the largest share of it that another one covers, (N,)."""
    both = shared_area(boxes, boxes)
    np.fill_diagonal(both, 0)
    return both.max(axis=1, initial=0) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def jump(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of box centres in mean face sides, (N, M); infinite where the size more than doubles."""
    centre, other_centre = ((b[:, :2] + b[:, 2:]) / 2 for b in (boxes, others))
    side, other_side = (np.max(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others))
    distance = np.linalg.norm(centre[:, None] - other_centre[None], axis=2)
    distance /= (side[:, None] + other_side[None]) / 2
    ratio = side[:, None] / other_side[None]
    return np.where((ratio > 0.5) & (ratio < 2), distance, np.inf)


def match(cost: np.ndarray, max_cost: float, *, alone: float | None = None) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost among those of at most max_cost; each row and column once.

    As many pairs as there can be, unless alone is what it costs to leave a pair out.
    """
    if cost.size == 0:
        return []
    # a forbidden pair costs more than all allowed ones together, so it never buys a better allowed pair
    forbidden = (max_cost + 1) * (min(cost.shape) + 1) if alone is None else alone
    price = np.where(cost <= max_cost, cost, forbidden)
    rows, columns = linear_sum_assignment(price)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] <= max_cost]


HistogramOf = Callable[[int, int], np.ndarray]
"""Step in the shot and row in that frame's detections -> the appearance of that face, (D,) float32."""

SPEED_STEPS = 4  # over which a face's speed is measured
MAX_COVER = 0.1  # share of a box that others may lie over, and its appearance is still its own


def track_shot(
    detections: Sequence[Detections], appearance: HistogramOf | None, *, min_iou: float, max_gap_frames: int
) -> list[Tracklet]:
    """Tracklets of one shot, in the order in which they begin; every detection belongs to exactly one.

    A tracklet goes on when a box overlaps the place where it would be by now, at the speed of its last steps,
    by at least min_iou after at most max_gap_frames frames without it. Where more than one pairing would do,
    appearances decide as much as overlap. Without appearances a face is expected where it was.
    """
    tracklets: list[Tracklet] = []
    covers = [covered(found.boxes) for found in detections]
    for step, found in enumerate(detections):
        live = [t for t in tracklets if step - max(t) <= max_gap_frames + 1]
        recent = [boxes_of(t, detections) for t in live]
        if appearance is None:
            expected = [boxes[max(boxes)] for boxes in recent]
        else:
            expected = [expected_box(boxes, step) for boxes in recent]
        overlap = iou(np.array(expected).reshape(-1, 4), found.boxes)
        cost = 1 - overlap
        near = overlap >= min_iou
        if appearance is not None:
            for row, column in ambiguous_pairs(near):
                known = least_covered_steps(live[row], covers)[-1]
                cost[row, column] += distance(appearance(known, live[row][known]), appearance(step, column))
        pairs = match(np.where(near, cost, np.inf), 2.0)
        for row, column in pairs:
            live[row][step] = column
        taken = {column for _, column in pairs}
        tracklets += [{step: column} for column in range(len(found)) if column not in taken]
    return tracklets


def split_changed(
    tracklet: Tracklet,
    covers: Sequence[np.ndarray],
    appearance: HistogramOf,
    *,
    max_change: float,
    max_step: float,
) -> list[Tracklet]:
    """The tracklet, cut where one person took the place of another.

    It is cut only if its first and last appearance are more than max_change apart: where neighbours are
    furthest, and more than max_step, apart. covers: of each frame's boxes.
    """
    steps = least_covered_steps(tracklet, covers)
    if len(steps) < 2:  # however near max_change is to 0, that of an appearance from itself by rounding
        return [tracklet]
    appearances = [appearance(step, tracklet[step]) for step in steps]
    if distance(appearances[0], appearances[-1]) <= max_change:
        return [tracklet]
    changes = [distance(before, after) for before, after in pairwise(appearances)]
    largest = int(np.argmax(changes))
    if changes[largest] <= max_step:
        return [tracklet]
    new = steps[largest + 1]
    parts = [{s: w for s, w in tracklet.items() if (s >= new) == after} for after in (False, True)]
    return [
        piece
        for part in parts
        for piece in split_changed(part, covers, appearance, max_change=max_change, max_step=max_step)
    ]


def ambiguous_pairs(near: np.ndarray) -> list[tuple[int, int]]:
    """Of pairs (N, M) bool that could be: those whose row or column has another one."""
    several = (near.sum(axis=1, keepdims=True) > 1) | (near.sum(axis=0, keepdims=True) > 1)
    return [(int(row), int(column)) for row, column in np.argwhere(near & several)]


def least_covered_steps(tracklet: Tracklet, covers: Sequence[np.ndarray]) -> list[int]:
    """Steps in which nobody is before the face, ascending; if there are none, the one with least of that."""
    cover = {step: float(covers[step][which]) for step, which in sorted(tracklet.items())}
    clear = [step for step, share in cover.items() if share <= MAX_COVER]
    return clear or [min(cover, key=cover.__getitem__)]


def boxes_of(tracklet: Tracklet, detections: Sequence[Detections]) -> dict[int, np.ndarray]:
    """The last boxes of a tracklet by step, ascending; enough to tell its speed."""
    last = max(tracklet)
    recent = sorted(step for step in tracklet if step >= last - SPEED_STEPS)
    return {step: detections[step].boxes[tracklet[step]] for step in recent}


def expected_box(boxes: dict[int, np.ndarray], step: int) -> np.ndarray:
    """Where the last of some boxes, ascending by step, is at a later step if it keeps its speed; (4,)."""
    last = max(boxes)
    return boxes[last] + speed_of(boxes) * (step - last)


def speed_of(boxes: dict[int, np.ndarray]) -> np.ndarray:
    """Movement of the boxes' centre, (4,) x y x y in pixels a step; none if there is one box only."""
    first, last = min(boxes), max(boxes)
    if first == last:
        return np.zeros(4, np.float32)
    moved = (boxes[last] - boxes[first]) / np.float32(last - first)
    return np.tile((moved[:2] + moved[2:]) / 2, 2)
