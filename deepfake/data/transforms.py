"""Stored crops to what a detector wants to see, and what every random change of training windows keeps to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import albumentations
import cv2
import numpy as np

from deepfake.records import InputSpec


def fit(crop: np.ndarray, spec: InputSpec, *, stored_margin: float) -> np.ndarray:
    """The centre of a stored crop (S, S, 3) at the model's margin and size, (size, size, 3) uint8."""
    start, inner = centre_of(len(crop), spec, stored_margin)
    centre = crop[start : start + inner, start : start + inner]
    interpolation = cv2.INTER_AREA if inner > spec.size else cv2.INTER_LINEAR
    return cv2.resize(centre, (spec.size, spec.size), interpolation=interpolation)


def fit_points(
    points: np.ndarray, square: np.ndarray, spec: InputSpec, *, stored_margin: float, max_crop_px: int
) -> np.ndarray:
    """Where points of the full frame (N, 2) lie in the crop that fit returns, (N, 2) float32 pixels.

    square: x0, y0, side of the stored crop in the full frame. As with boxes, whole numbers are the edges
    between pixels: the first pixel's centre is 0.5.
    """
    side = int(square[2])
    stored = min(side, max_crop_px)
    start, inner = centre_of(stored, spec, stored_margin)
    in_stored = (np.asarray(points, np.float64) - square[:2]) * (stored / side)
    return ((in_stored - start) * (spec.size / inner)).astype(np.float32)


def centre_of(side: int, spec: InputSpec, stored_margin: float) -> tuple[int, int]:
    """First pixel and side of the part of a stored crop that the model sees."""
    inner = max(1, round(side * spec.margin / stored_margin))
    return (side - inner) // 2, inner


class Sample(NamedTuple):
    """A window as the model sees it: frames (T, H, W, 3) uint8, landmarks (T, 5, 2) float32, and its label.

    Landmarks are in pixels of the frames as they were cut out; a transform that moves pixels leaves them as
    they are, so that whatever needs them must come first. note: what was done to it, for people to read.
    """

    frames: np.ndarray
    landmarks: np.ndarray
    label: int
    note: str = ""


class WindowTransform(ABC):
    """A random change of a training window, alike for all its frames.

    What is drawn depends on the seed alone, not on the worker, the batch or what came before.
    reals_only: whether it makes its own fakes. A training epoch is then planned of real videos alone, each
    window twice, side by side: with an even seed to stay real, with the next one to become a fake.
    """

    reals_only: bool = False

    @abstractmethod
    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The changed window: frames of the same shape and type, perhaps another label."""


class Albumentations(WindowTransform):
    """Changes of albumentations, in order, each drawn once a window.

    Its GaussNoise therefore lays one and the same noise over all frames; see perturb.FrameNoise.
    """

    def __init__(self, transforms: Sequence[Any] = ()) -> None:
        self.compose = albumentations.Compose(list(transforms))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The window with its frames changed."""
        self.compose.set_random_seed(seed)
        return sample._replace(frames=self.compose(images=sample.frames)["images"])
