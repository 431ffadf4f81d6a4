"""Distortions of training windows at random, and of everything that is scored on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import cv2
import numpy as np

from deepfake.data.distortions import DEEPERFORENSICS, DISTORTIONS, LEVELS
from deepfake.data.perturb import check_rate
from deepfake.data.transforms import Sample, WindowTransform
from deepfake.errors import UserError


class Distort(WindowTransform):
    """A share of the windows gets one distortion of random name and level, the others stay as they are.

    names: of DISTORTIONS; None = the seven of DeeperForensics-1.0. Raises UserError for an unknown name or
    level, or a rate that is no share.
    """

    def __init__(
        self, *, rate: float = 0.5, names: Sequence[str] | None = None, levels: Sequence[int] = LEVELS
    ) -> None:
        check_rate(rate)
        self.rate = rate
        self.names = list(DEEPERFORENSICS if names is None else names)
        self.levels = list(levels)
        if not self.names or not set(self.names) <= set(DISTORTIONS):
            raise UserError(f"augment.names={self.names}: known are {', '.join(DISTORTIONS)}")
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise UserError(f"augment.levels={self.levels}: known are 1 to 5")

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The window, distorted or not."""
        rng = np.random.default_rng(seed)
        if rng.random() >= self.rate:
            return sample
        name = self.names[rng.integers(len(self.names))]
        level = self.levels[rng.integers(len(self.levels))]
        frames = DISTORTIONS[name](sample.frames, level, rng)
        return sample._replace(frames=frames, note=f"{name.replace('_', ' ')} {level}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipDistortion:
    """One of the DISTORTIONS at a level, for whole clips of a face: what is random follows from their key."""

    name: str
    level: int
    seed: int = 0

    def __call__(self, crops: Sequence[np.ndarray], *, video: str, track: int, clip: int) -> np.ndarray:
        """The crops (S, S, 3) uint8 of a clip, in order, as (T, S, S, 3): the largest's size for all.

        video: its key; track, clip: which of its faces and when.
        """
        side = max(len(crop) for crop in crops)
        same = [crop if len(crop) == side else cv2.resize(crop, (side, side)) for crop in crops]
        rng = np.random.default_rng([self.seed, crc32(video.encode()), track, clip])
        return DISTORTIONS[self.name](np.stack(same), self.level, rng)
