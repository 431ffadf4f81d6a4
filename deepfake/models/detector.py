"""Windows that share frames: the backbone sees each frame once, in however many windows it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from deepfake.records import InputSpec

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


# The detector: a backbone that sees frames, a head that judges windows.


class Detector(nn.Module):
    """Logit that a window shows a fake face: crops (B, T, 3, H, W) uint8 -> (B,) float32.

    backbone: normalised frames (N, 3, H, W) -> (N, backbone.num_features); backbone.layers are its parts in
    order, and the output of backbone.map_layer, maps (N, C, h, w), still tells places apart: heat maps are
    made of it. head: makes the head from that number. input: what crops must look like; they are normalised
    here, on the device. channels_last: lay maps out channel by pixel, which is faster on many devices.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: Callable[[int], nn.Module],
        input: InputSpec,
        *,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone = backbone.to(memory_format=self.memory_format)
        self.head = head(int(backbone.num_features))  # type: ignore[arg-type]
        self.input = input
        for name, values in ("mean", input.mean), ("std", input.std):
            rgb = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, rgb, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.mean.device

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all weights with their names, types and shapes, in hexadecimal digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # bytes, since numpy knows no bfloat16; a scalar has none to be viewed as
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, T, 3, H, W) uint8 -> logits (B,)."""
        batch, window = crops.shape[:2]
        return self.logits(self.features(crops.flatten(0, 1)).view(batch, window, -1))

    def score_windows(self, frames: Tensor, place: Tensor) -> Tensor:
        """Logits (W,) of windows that share frames (N, 3, H, W) uint8; place (W, T): each window's frames."""
        return self.logits(self.features(frames)[place])

    def score(self, windows: np.ndarray, read: Read) -> Tensor:
        """Logits (W,) of windows, (W, T) numbers of frames, which are read a few at a time, each once."""
        return score_windows(self, windows, read)

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) uint8 -> (N, F); frames shared by several windows need this only once."""
        # bytes would lose their last bits in half precision
        normalised = (frames.float() / 255 - self.mean.float()) / self.std.float()
        return self.backbone(normalised.to(self.mean.dtype, memory_format=self.memory_format))

    def logits(self, features: Tensor) -> Tensor:
        """Features of windows (B, T, F) -> logits (B,) float32, also in the midst of mixed precision."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.to(self.mean.dtype)).float()
