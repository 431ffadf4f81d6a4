"""Frames to detections: MTCNN (Zhang et al. 2016) as packaged, weights included, by facenet-pytorch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

from deepfake.records import Detections

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

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Detections of each frame, largest face first; frames are (H, W, 3) uint8 of one size, at least one.

        The last bits of a box depend on the batch and on the threads that compute it: the same frames
        together give the same boxes, since there is always one thread.
        """
        small = []
        for frame in frames:  # of which only one is held at full size
            height, width = frame.shape[:2]
            small.append(reduced(frame, self.short_side_px))
        if min(small[0].shape[:2]) < self.min_face_px:
            return [NO_FACES] * len(frames)
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
def shared_detector(short_side_px: int, min_face_px: int, min_score: float, device: str) -> FaceDetector:
    """One detector a process, since a worker extracts many videos with the same settings."""
    return FaceDetector(
        short_side_px=short_side_px,
        min_face_px=min_face_px,
        min_score=min_score,
        device=device_here(device),
    )
