"""Random changes of training windows (augmentation)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepfake.errors import UserError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks PyPI for a newer version
import albumentations


class Sample(NamedTuple):
    """A window as the model sees it: frames (T, H, W, 3) uint8, landmarks (T, 5, 2) float32, and its label.

    Landmarks are in pixels of the unchanged frames. Transforms that move pixels do not update them, so
    transforms that need landmarks must come first. note: description of what was done.
    """

    frames: np.ndarray
    landmarks: np.ndarray
    label: int
    note: str = ""


class WindowTransform(ABC):
    """A random change of a training window, the same for all its frames.

    It depends on the seed alone, not on the worker, the batch or earlier windows.
    reals_only: whether it makes its own fakes. A training epoch then has real videos only and each window
    twice, side by side: with an even seed it stays real, with the next seed it becomes a fake.
    """

    reals_only: bool = False

    @abstractmethod
    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The changed window: frames of the same shape and type; the label may change."""


class Albumentations(WindowTransform):
    """Transforms of albumentations, in order, each drawn once per window.

    Its GaussNoise therefore adds the same noise to all frames; FrameNoise does not.
    """

    def __init__(self, transforms: Sequence[Any] = ()) -> None:
        self.compose = albumentations.Compose(list(transforms))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The window with its frames changed."""
        self.compose.set_random_seed(seed)
        return sample._replace(frames=self.compose(images=sample.frames)["images"])


class Perturb(WindowTransform):
    """Perturbs a share of the windows (compression, noise, blur, light, colour); the others stay unchanged.

    It replaces a second, perturbed copy of the data. rate: share of the windows that are changed.
    transforms: of albumentations, with p=1, by name; a changed window gets 1 to max_changes different ones in
    random order. Raises UserError for a rate outside [0, 1].
    """

    def __init__(self, transforms: Mapping[str, Any], *, rate: float = 0.5, max_changes: int = 3) -> None:
        check_rate(rate)
        self.rate = rate
        self.changes = {name: Albumentations([transform]) for name, transform in transforms.items()}
        self.max_changes = min(max_changes, len(self.changes))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The window, perturbed or not."""
        rng = np.random.default_rng(seed)
        if rng.random() >= self.rate:
            return sample
        count = int(rng.integers(1, self.max_changes + 1))
        chosen = rng.permutation(list(self.changes))[:count].tolist()
        for name in chosen:
            sample = self.changes[name](sample, int(rng.integers(2**31)))
        return sample._replace(note=", ".join(chosen))


class FrameNoise(albumentations.ImageOnlyTransform):
    """Gaussian noise like that of a camera: one strength per window, drawn anew for each frame.

    The GaussNoise of albumentations repeats one noise field, which would stand still while the face moves.
    std_range: range of the standard deviation, as a share of 255.
    """

    class InitSchema(albumentations.ImageOnlyTransform.InitSchema):
        """Arguments that albumentations checks."""

        std_range: tuple[float, float]

    def __init__(self, std_range: tuple[float, float] = (0.01, 0.05), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.std_range = std_range

    def get_params(self) -> dict[str, Any]:
        """The random parameters of a window."""
        return {
            "std": 255 * self.py_random.uniform(*self.std_range),
            "noise_seed": self.py_random.getrandbits(31),
        }

    def apply(self, img: np.ndarray, *, std: float, noise_seed: int, **params: Any) -> np.ndarray:
        """One image or several, (…, H, W, 3) uint8, with noise."""
        noise = np.random.default_rng(noise_seed).standard_normal(img.shape, np.float32)
        return to_uint8(img + std * noise)

    def apply_to_images(self, images: np.ndarray, **params: Any) -> np.ndarray:
        """All frames, each with its own noise."""
        return self.apply(images, **params)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Values rounded and clipped to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def check_rate(rate: float) -> None:
    """Raise UserError for a rate outside [0, 1]."""
    if not 0 <= rate <= 1:
        raise UserError(f"augment.rate={rate}: must be from 0 to 1")
