"""Detections of one shot to tracklets: by where a face would have moved, and by its look where two meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from deepfake.faces.looks import apart
from deepfake.faces.track import Tracklet, covered, iou, match
from deepfake.records import Detections

Look = Callable[[int, int], np.ndarray]
"""Step in the shot and row in that frame's detections -> the look of that face, (D,) float32."""

SPEED_STEPS = 4  # over which a face's speed is measured
MAX_COVER = 0.1  # share of a box that others may lie over, and its look is still its own


def link_shot(
    detections: Sequence[Detections], look: Look, *, min_iou: float, max_gap_frames: int
) -> list[Tracklet]:
    """Tracklets of one shot, in order of appearance; every detection belongs to exactly one.

    A tracklet goes on when a box overlaps the place where it would be by now, at the speed of its last steps,
    by at least min_iou after at most max_gap_frames frames without it. Where more than one pairing would do,
    looks are asked for and weigh as much as overlap.
    """
    tracklets: list[Tracklet] = []
    covers = [covered(found.boxes) for found in detections]
    for step, found in enumerate(detections):
        live = [t for t in tracklets if step - max(t) <= max_gap_frames + 1]
        expected = np.array([expected_box(boxes_of(t, detections), step) for t in live]).reshape(-1, 4)
        overlap = iou(expected, found.boxes)
        cost = 1 - overlap
        near = overlap >= min_iou
        for row, column in doubtful(near):
            known = clearest(live[row], covers)[-1]
            looks = look(known, live[row][known]), look(step, column)
            cost[row, column] += apart(looks[0][None], looks[1][None])[0, 0]
        pairs = match(np.where(near, cost, np.inf), 2.0)
        for row, column in pairs:
            live[row][step] = column
        taken = {column for _, column in pairs}
        tracklets += [{step: column} for column in range(len(found)) if column not in taken]
    return tracklets


def split_changed(
    tracklet: Tracklet, covers: Sequence[np.ndarray], look: Look, *, max_change: float, max_step: float
) -> list[Tracklet]:
    """The tracklet, cut where one person took the place of another.

    That is looked for only if first and last look are more than max_change apart, and found where neighbours
    are most, and more than max_step, apart. covers: of each frame's boxes.
    """
    steps = clearest(tracklet, covers)
    if len(steps) < 2:  # however near max_change is to 0, that of a look from itself by rounding
        return [tracklet]
    ends = np.stack([look(step, tracklet[step]) for step in (steps[0], steps[-1])])
    if apart(ends[:1], ends[1:])[0, 0] <= max_change:
        return [tracklet]
    looks = np.stack([look(step, tracklet[step]) for step in steps])
    changes = np.array([apart(looks[n : n + 1], looks[n + 1 : n + 2])[0, 0] for n in range(len(steps) - 1)])
    largest = int(changes.argmax())
    if changes[largest] <= max_step:
        return [tracklet]
    new = steps[largest + 1]
    parts = [{s: w for s, w in tracklet.items() if (s >= new) == after} for after in (False, True)]
    return [
        piece
        for part in parts
        for piece in split_changed(part, covers, look, max_change=max_change, max_step=max_step)
    ]


def doubtful(near: np.ndarray) -> list[tuple[int, int]]:
    """Of pairs (N, M) bool that could be: those whose row or column has another one."""
    several = (near.sum(axis=1, keepdims=True) > 1) | (near.sum(axis=0, keepdims=True) > 1)
    return [(int(row), int(column)) for row, column in np.argwhere(near & several)]


def clearest(tracklet: Tracklet, covers: Sequence[np.ndarray]) -> list[int]:
    """Steps in which nobody is before the face, ascending; if there are none, the one with least of that."""
    cover = {step: float(covers[step][which]) for step, which in sorted(tracklet.items())}
    return [step for step, share in cover.items() if share <= MAX_COVER] or [
        min(cover, key=cover.__getitem__)
    ]


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
