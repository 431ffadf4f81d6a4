"""Everyday damage to a share of the windows: compression, noise, blur, light and colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import albumentations
import numpy as np

from deepfake.data.transforms import Albumentations, Sample, WindowTransform
from deepfake.errors import UserError


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
