"""Meso-4 of Afchar et al., "MesoNet: a Compact Facial Video Forgery Detection Network" (WIFS 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Meso4(nn.Module):
    """Features of single frames: (N, 3, H, W) in [0, 1], H = W = image_size -> (N, 16).

    As in the authors' Keras code: each convolution has a BatchNorm of its own, after the ReLU and with
    eps 1e-3. Together with a linear head it has the published 27,977 parameters.
    """

    num_features = 16

    def __init__(self, *, image_size: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        if image_size % 32:
            raise ValueError(f"Meso4 pools by 32: image_size {image_size} is not a multiple of it")
        self.blocks = nn.Sequential(
            conv_block(3, 8, kernel=3, pool=2),
            conv_block(8, 8, kernel=5, pool=2),
            conv_block(8, 16, kernel=5, pool=2),
            conv_block(16, 16, kernel=5, pool=4),
        )
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(16 * (image_size // 32) ** 2, self.num_features)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) -> features (N, 16)."""
        maps = self.blocks(frames)
        return self.activation(self.dense(self.dropout(torch.flatten(maps, 1))))


def conv_block(channels: int, out_channels: int, *, kernel: int, pool: int) -> nn.Sequential:
    """Convolution that keeps the size, ReLU, BatchNorm, pooling: (N, C, H, W) -> (N, C', H/pool, W/pool)."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, padding="same"),
        nn.ReLU(),
        nn.BatchNorm2d(out_channels, eps=1e-3),
        nn.MaxPool2d(pool),
    )
