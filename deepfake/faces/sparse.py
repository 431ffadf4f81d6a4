"""Detections of a clip from a few of its frames: the rest is interpolated where neighbours in time agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from deepfake.faces.track import iou, match
from deepfake.records import Detections

Detector = Callable[[Sequence[np.ndarray]], list[Detections]]
"""Frames (H, W, 3) uint8 of one size -> the faces of each."""

Looked = tuple[int, Detections]
Doubt = Callable[[Looked, Looked, list[tuple[int, int]]], bool]
"""Two steps with their detections, and which face is which -> whether that may be wrong."""

SURE = 0.97
"""Score from which a detection may stand for frames that nobody looked at."""


class Picked(Sequence[np.ndarray]):
    """Frames of some steps, each taken when it is asked for: frames may be made that late."""

    def __init__(self, frames: Sequence[np.ndarray], steps: Sequence[int]) -> None:
        self.frames = frames
        self.steps = steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, place: Any) -> Any:
        chosen = self.steps[place]
        return Picked(self.frames, chosen) if isinstance(place, slice) else self.frames[chosen]


def key_steps(num_frames: int, every: int) -> list[int]:
    """Steps of a clip to detect on: first, last and evenly spread between, at most every apart."""
    last = num_frames - 1
    count = -(-last // every) + 1
    return np.linspace(0, last, count).round().astype(int).tolist()


def detect_clip(
    frames: Sequence[np.ndarray],
    detector: Detector,
    *,
    every: int,
    min_agreement: float,
    doubt: Doubt | None = None,
) -> tuple[list[Detections], np.ndarray]:
    """Faces of each frame of a clip, and whether it was looked at, (N,) bool; else they are interpolated.

    frames: (H, W, 3) uint8, in order. Between two detected frames that do not agree, all are detected. doubt:
    asked of those that agree.
    """
    keys = key_steps(len(frames), every)
    found = dict(zip(keys, detector(Picked(frames, keys)), strict=True))
    between: dict[int, Detections] = {}
    for before, after in pairwise(keys):
        pairs = agreement(found[before], found[after], min_iou=min_agreement)
        if pairs is None or (doubt and doubt((before, found[before]), (after, found[after]), pairs)):
            continue
        between |= interpolate(before, found[before], after, found[after], pairs)
    open_steps = [step for step in range(len(frames)) if step not in found and step not in between]
    if open_steps:
        found |= zip(open_steps, detector(Picked(frames, open_steps)), strict=True)
    looked_at = np.array([step in found for step in range(len(frames))])
    return [(found if step in found else between)[step] for step in range(len(frames))], looked_at


def agreement(before: Detections, after: Detections, *, min_iou: float) -> list[tuple[int, int]] | None:
    """Which face of one frame is which of the other; None unless all are sure and overlap their own well.

    Two frames without any face do not agree: where faces are hard to find, every frame is tried.
    """
    if not len(before) == len(after) > 0 or min(before.scores.min(), after.scores.min()) < SURE:
        return None
    pairs = match(1 - iou(before.boxes, after.boxes), 1 - min_iou)
    return pairs if len(pairs) == len(before) else None


def interpolate(
    start: int, before: Detections, end: int, after: Detections, pairs: list[tuple[int, int]]
) -> dict[int, Detections]:
    """Faces of the steps between start and end, moved evenly; their score is the lower one of the two."""
    own, other = ([pair[side] for pair in pairs] for side in (0, 1))
    scores = np.minimum(before.scores[own], after.scores[other])
    steps = {}
    for step in range(start + 1, end):
        share = np.float32((step - start) / (end - start))
        boxes = before.boxes[own] * (1 - share) + after.boxes[other] * share
        landmarks = before.landmarks[own] * (1 - share) + after.landmarks[other] * share
        steps[step] = Detections(boxes, scores, landmarks)
    return steps
