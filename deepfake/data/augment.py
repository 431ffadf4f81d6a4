"""Random changes of training windows, and the rules that every one of them keeps to."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepfake.errors import UserError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask PyPI for a newer version of itself
import albumentations


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


# Everyday damage to a share of the windows: compression, noise, blur, light and colour.


class Perturb(WindowTransform):
    """Damages a share of the windows and leaves the others as they are, byte for byte.

    It stands for a second, damaged copy of the data. rate: share of the windows that are changed.
    transforms: of albumentations, with p=1, by names of their own; a changed window gets 1 to max_changes
    different ones, in random order. Raises UserError for a rate that is no share.
    """

    def __init__(self, transforms: Mapping[str, Any], *, rate: float = 0.5, max_changes: int = 3) -> None:
        check_rate(rate)
        self.rate = rate
        self.changes = {name: Albumentations([transform]) for name, transform in transforms.items()}
        self.max_changes = min(max_changes, len(self.changes))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The window, damaged or not."""
        rng = np.random.default_rng(seed)
        if rng.random() >= self.rate:
            return sample
        count = int(rng.integers(1, self.max_changes + 1))
        chosen = rng.permutation(list(self.changes))[:count].tolist()
        for name in chosen:
            sample = self.changes[name](sample, int(rng.integers(2**31)))
        return sample._replace(note=", ".join(chosen))


class FrameNoise(albumentations.ImageOnlyTransform):
    """Gaussian noise as a camera makes it: of one strength over a window, drawn anew for each frame.

    albumentations' own GaussNoise repeats one noise field, which would stand still while the face moves.
    std_range: of its standard deviation, as a share of 255.
    """

    class InitSchema(albumentations.ImageOnlyTransform.InitSchema):
        """Arguments as albumentations checks them."""

        std_range: tuple[float, float]

    def __init__(self, std_range: tuple[float, float] = (0.01, 0.05), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.std_range = std_range

    def get_params(self) -> dict[str, Any]:
        """What is drawn for a window."""
        return {
            "std": 255 * self.py_random.uniform(*self.std_range),
            "noise_seed": self.py_random.getrandbits(31),
        }

    def apply(self, img: np.ndarray, *, std: float, noise_seed: int, **params: Any) -> np.ndarray:
        """An image or several, (…, H, W, 3) uint8, with noise."""
        noise = np.random.default_rng(noise_seed).standard_normal(img.shape, np.float32)
        return to_uint8(img + std * noise)

    def apply_to_images(self, images: np.ndarray, **params: Any) -> np.ndarray:
        """All frames with noise of their own."""
        return self.apply(images, **params)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Numbers on a scale to 255, rounded to the nearest of it."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def check_rate(rate: float) -> None:
    """Raise UserError unless it is a share of all windows."""
    if not 0 <= rate <= 1:
        raise UserError(f"augment.rate={rate}: must be a share from 0 to 1")
