"""Stored crops to what a detector wants to see, and the random changes of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import albumentations
import cv2
import numpy as np

from deepfake.records import InputSpec


def fit(crop: np.ndarray, spec: InputSpec, *, stored_margin: float) -> np.ndarray:
    """The centre of a stored crop (S, S, 3) at the model's margin and size, (size, size, 3) uint8."""
    side = len(crop)
    inner = max(1, round(side * spec.margin / stored_margin))
    start = (side - inner) // 2
    centre = crop[start : start + inner, start : start + inner]
    interpolation = cv2.INTER_AREA if inner > spec.size else cv2.INTER_LINEAR
    return cv2.resize(centre, (spec.size, spec.size), interpolation=interpolation)


class WindowTransform:
    """Random changes drawn once a window, so that all its frames change alike.

    transforms: albumentations objects, applied in order. The draw depends on the seed alone, not on the
    worker, the batch or what came before.
    """

    def __init__(self, transforms: Sequence[Any] = ()) -> None:
        self.compose = albumentations.Compose(list(transforms))

    def __call__(self, frames: np.ndarray, seed: int) -> np.ndarray:
        """Frames (T, H, W, 3) uint8 -> the same shape and type."""
        self.compose.set_random_seed(seed)
        return self.compose(images=frames)["images"]
