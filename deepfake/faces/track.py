"""Detections to tracks by position alone: which boxes of a clip, and of one clip and the next, are one face.

looks.py and follow.py go further; these are also how files and checkpoints of older versions were made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepfake.records import Detections

Tracklet = dict[int, int]
"""One face within one clip: step in the clip -> row in that frame's detections."""


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) with others (M, 4), xyxy -> (N, M) in [0, 1]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    area, other_area = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others))
    return both / (area[:, None] + other_area[None] - both)


def covered(boxes: np.ndarray) -> np.ndarray:
    """For each of the boxes (N, 4) of one frame the largest share of it that another one covers, (N,)."""
    if len(boxes) < 2:
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    np.fill_diagonal(both, 0)
    return both.max(axis=1) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


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
    return [
        (int(r), int(c)) for r, c in zip(*linear_sum_assignment(price), strict=True) if cost[r, c] <= max_cost
    ]


def link_clip(detections: Sequence[Detections], *, min_iou: float, max_gap_frames: int) -> list[Tracklet]:
    """Tracklets of one clip, in order of appearance; every detection belongs to exactly one.

    A tracklet goes on when a box overlaps its last one by at least min_iou after at most max_gap_frames
    frames without it.
    """
    tracklets: list[Tracklet] = []
    for step, found in enumerate(detections):
        live = [t for t in tracklets if step - max(t) <= max_gap_frames + 1]
        last = np.array([detections[max(t)].boxes[t[max(t)]] for t in live]).reshape(-1, 4)
        pairs = match(1 - iou(last, found.boxes), 1 - min_iou)
        for row, column in pairs:
            live[row][step] = column
        taken = {column for _, column in pairs}
        tracklets += [{step: column} for column in range(len(found)) if column not in taken]
    return tracklets


def join_clips(last: np.ndarray, first: np.ndarray, *, max_jump: float) -> list[int | None]:
    """For each first box (M, 4) of a new clip: the row of the earlier track it goes on, or None.

    last: (N, 4), each earlier track's last box. A face may have moved by max_jump face sides and changed
    its size by less than a factor of two.
    """
    going_on = {column: row for row, column in match(jump(last, first), max_jump)}
    return [going_on.get(column) for column in range(len(first))]
