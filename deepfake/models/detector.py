"""The detector: a backbone that sees frames, a head that judges windows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepfake.records import InputSpec


class Detector(nn.Module):
    """Logit that a window shows a fake face: crops (B, T, 3, H, W) uint8 -> (B,) float32.

    backbone: normalised frames (N, 3, H, W) -> (N, backbone.num_features). head: makes the head from that
    number. input: what crops must look like; they are normalised here, on the device.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: Callable[[int], nn.Module], input: InputSpec) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head(int(backbone.num_features))  # type: ignore[arg-type]
        self.input = input
        self.register_buffer("mean", torch.tensor(input.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(input.std).view(3, 1, 1), persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, T, 3, H, W) uint8 -> logits (B,)."""
        batch, window = crops.shape[:2]
        return self.head(self.features(crops.flatten(0, 1)).view(batch, window, -1))

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) uint8 -> (N, F); frames shared by several windows need this only once."""
        return self.backbone((frames.to(self.mean.dtype) / 255 - self.mean) / self.std)
