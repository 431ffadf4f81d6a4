"""Frames to detections: MTCNN (Zhang et al. 2016) as packaged, weights included, by facenet-pytorch."""

from __future__ import annotations

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

    def __call__(self, rgb: np.ndarray) -> list[Detections]:
        """Detections of each frame, largest face first; rgb is (N, H, W, 3) uint8."""
        height, width = rgb.shape[1:3]
        scale = min(1.0, self.short_side_px / min(height, width))
        if min(height, width) * scale < self.min_face_px:
            return [NO_FACES] * len(rgb)
        if scale < 1:
            size = (round(width * scale), round(height * scale))
            rgb = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in rgb])
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


@lru_cache(maxsize=2)
def shared_detector(short_side_px: int, min_face_px: int, min_score: float, device: str) -> FaceDetector:
    """One detector a process, since a worker extracts many videos with the same settings."""
    return FaceDetector(
        short_side_px=short_side_px, min_face_px=min_face_px, min_score=min_score, device=device
    )
