"""Frames to detections: MTCNN (Zhang et al. 2016) as packaged, weights included, by facenet-pytorch.

Of a clip only key frames are searched; boxes between two of them are interpolated where they agree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

from deepfake.faces.association import iou, match
from deepfake.faces.settings import FaceSettings
from deepfake.records import Detections

Detector = Callable[[Iterable[np.ndarray]], list[Detections]]
"""Frames (H, W, 3) uint8 of one size -> the faces of each."""

NO_FACES = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


class FaceDetector:
    """All faces of equally sized frames, found on reduced copies and given in full-size pixels."""

    def __init__(
        self, *, short_side_px: int = 320, min_face_px: int = 40, min_score: float = 0.9, device: str = "cpu"
    ) -> None:
        self.short_side_px = short_side_px
        self.min_face_px = min_face_px
        self.min_score = min_score
        self.net = MTCNN(
            keep_all=True, min_face_size=min_face_px, post_process=False, device=torch.device(device)
        ).eval()
        # max pooling, a third of the time otherwise, is vectorised over channels only
        self.net.to(memory_format=torch.channels_last)

    def __call__(self, frames: Iterable[np.ndarray]) -> list[Detections]:
        """Detections of each frame, largest face first; frames are (H, W, 3) uint8 of one size, at least one.

        The last bits of a box depend on the batch and on the threads that compute it: the same frames
        together give the same boxes, since there is always one thread.
        """
        small = []
        for frame in frames:  # of which only one is held at full size
            height, width = frame.shape[:2]
            small.append(reduced(frame, self.short_side_px))
        if min(small[0].shape[:2]) < self.min_face_px:
            return [NO_FACES] * len(small)
        rgb = np.stack(small)
        with one_thread():
            boxes, scores, landmarks = self.net.detect(rgb, landmarks=True)
        ratio = np.array([width / rgb.shape[2], height / rgb.shape[1]], np.float32)
        return [self._checked(*found, ratio) for found in zip(boxes, scores, landmarks, strict=True)]

    def _checked(
        self, boxes: np.ndarray | None, scores: np.ndarray, landmarks: np.ndarray, ratio: np.ndarray
    ) -> Detections:
        if boxes is None:
            return NO_FACES
        boxes = np.asarray(boxes, np.float32) * np.tile(ratio, 2)
        scores = np.asarray(scores, np.float32)
        landmarks = np.asarray(landmarks, np.float32) * ratio
        good = (scores >= self.min_score) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Detections(boxes[good], scores[good], landmarks[good])


def reduced(frame: np.ndarray, short_side_px: int) -> np.ndarray:
    """The frame (H, W, 3), smaller if its short side is longer than this."""
    height, width = frame.shape[:2]
    scale = short_side_px / min(height, width)
    if scale >= 1:
        return frame
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in this thread alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_here(wanted: str) -> str:
    """The device of this process: auto is a GPU where there is one; of several GPUs each process has one."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return f"cuda:{os.getpid() % torch.cuda.device_count()}" if wanted == "cuda" else wanted


@lru_cache(maxsize=2)
def shared_detector(settings: FaceSettings, device: str) -> Detector:
    """The detector that the settings ask for: one per process, since a worker extracts many videos."""
    return FaceDetector(
        short_side_px=settings.short_side_px,
        min_face_px=settings.min_face_px,
        min_score=settings.min_score,
        device=device_here(device),
    )


KeyFrame = tuple[int, Detections]
NeedsDetection = Callable[[KeyFrame, KeyFrame, list[tuple[int, int]]], bool]
"""Two key frames and their pairs of faces -> whether the frames between must be searched."""

MIN_KEY_SCORE = 0.97
"""Detection score from which the faces of a key frame may be interpolated."""


def key_frame_steps(num_frames: int, every: int) -> list[int]:
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
    needs_detection: NeedsDetection | None = None,
) -> tuple[list[Detections], np.ndarray]:
    """Faces of each frame of a clip, and whether it was searched, (N,) bool; others are interpolated.

    frames: (H, W, 3) uint8, in order. Between two key frames whose faces do not agree, every frame is
    searched. needs_detection: whether this is needed although they agree.
    """
    keys = key_frame_steps(len(frames), every)
    found = dict(zip(keys, detector(frames[step] for step in keys), strict=True))
    between: dict[int, Detections] = {}
    for before, after in pairwise(keys):
        pairs = agreeing_pairs(found[before], found[after], min_iou=min_agreement)
        if pairs is None or (
            needs_detection and needs_detection((before, found[before]), (after, found[after]), pairs)
        ):
            continue
        between |= interpolate(before, found[before], after, found[after], pairs)
    open_steps = [step for step in range(len(frames)) if step not in found and step not in between]
    if open_steps:
        found |= zip(open_steps, detector(frames[step] for step in open_steps), strict=True)
    detected = np.array([step in found for step in range(len(frames))])
    return [(found if step in found else between)[step] for step in range(len(frames))], detected


def agreeing_pairs(before: Detections, after: Detections, *, min_iou: float) -> list[tuple[int, int]] | None:
    """Which face of one frame is which of the other; None unless all are sure and overlap their own well.

    Two frames without any face do not agree: where faces are hard to find, every frame is tried.
    """
    if not len(before) == len(after) > 0 or min(before.scores.min(), after.scores.min()) < MIN_KEY_SCORE:
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
