"""Windows that share frames: the backbone sees each frame once, in however many windows it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

FRAMES_AT_ONCE = 64
FRAMES_ON_CPU = 8  # whose maps its caches hold: Meso-4 takes half the time that it takes for 32
WINDOWS_AT_ONCE = 1024  # 16 frames of 1,280 features each are 84 MB

Read = Callable[[np.ndarray], Tensor]
"""Numbers of frames (n,), ascending -> their crops (n, 3, H, W) uint8."""


class Parts(Protocol):
    """A detector in two parts, such as a Detector, whose tensors lie on one device."""

    @property
    def device(self) -> torch.device:
        """Where frames go, and where features and logits come back."""

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) uint8 -> (N, F)."""

    def logits(self, features: Tensor) -> Tensor:
        """Features of windows (B, T, F) -> logits (B,) float32."""


def score_windows(
    detector: Parts,
    windows: np.ndarray,
    read: Read,
    *,
    frames_at_once: int | None = None,
    windows_at_once: int = WINDOWS_AT_ONCE,
) -> Tensor:
    """Logits (W,) float32 of windows, on the detector's device.

    windows: each one's frames, (W, T) integers with W > 0, such as rows of a store file; every frame is read
    once. What is worked on at once bounds the memory and moves no logit by more than rounding; by default as
    many frames as suit the device.
    """
    frames_at_once = frames_at_once or suited_to(detector.device)
    frames, place = np.unique(windows, return_inverse=True)
    with torch.inference_mode():
        features = torch.cat(
            [
                detector.features(read(chunk).to(detector.device))
                for chunk in np.array_split(frames, -(-len(frames) // frames_at_once))
            ]
        )
        places = torch.from_numpy(place.reshape(windows.shape)).to(features.device)
        return torch.cat([detector.logits(features[chunk]) for chunk in places.split(windows_at_once)])


def suited_to(device: torch.device) -> int:
    """How many frames at once a device is fast with."""
    return FRAMES_ON_CPU if device.type == "cpu" else FRAMES_AT_ONCE
