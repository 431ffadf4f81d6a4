"""The usual script: OpenCV walks through a video, facenet-pytorch's MTCNN looks at full-size frames.

It is one process, in which torch and FFmpeg use all cores as they do by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

BATCH_FRAMES = 2


def baseline_detector(device: str, *, image_size: int = 224) -> MTCNN:
    """MTCNN at its defaults: faces from 20 px on in the frame as it is, the largest one is kept.

    image_size: side of its crops in pixels.
    """
    return MTCNN(
        image_size=image_size, margin=10, keep_all=False, post_process=False, device=torch.device(device)
    ).eval()


def baseline_crops(path: Path, detector: MTCNN, *, num_frames: int) -> list[torch.Tensor]:
    """The main face of every evenly spaced frame that shows one, (3, S, S) float32 in [0, 255]."""
    capture = cv2.VideoCapture(str(path))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(np.linspace(0, total - 1, num_frames).astype(int).tolist())
    batch: list[Image.Image] = []
    crops: list[torch.Tensor | None] = []
    for index in range(total):
        capture.grab()
        if index in wanted:
            found, bgr = capture.retrieve()
            if found:
                batch.append(Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
        if batch and (len(batch) == BATCH_FRAMES or index == total - 1):
            # what calling the detector does, which itself fails if only one frame of a batch has a face
            crops += detector.extract(batch, main_boxes(batch, detector), None)
            batch = []
    capture.release()
    return [crop for crop in crops if crop is not None]


def main_boxes(frames: Sequence[Image.Image], detector: MTCNN) -> list[np.ndarray | None]:
    """The box (1, 4) that the detector would cut out of each frame, or None."""
    boxes, _ = detector.detect(list(frames))
    return [largest(found) for found in boxes]


def largest(boxes: np.ndarray | None) -> np.ndarray | None:
    """The box of most area, (1, 4) float32 of boxes (N, 4): the rule select_largest=True stands for."""
    if boxes is None or not len(boxes):
        return None
    boxes = np.asarray(boxes, np.float32)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[[int(area.argmax())]]
