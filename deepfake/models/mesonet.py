"""Meso-4 and MesoInception-4 of Afchar et al., "MesoNet: a Compact Facial Video Forgery Detection Network".

WIFS 2018, arXiv 1809.00888; as in the authors' Keras code (github.com/DariusAf/MesoNet, classifiers.py): each
BatchNorm belongs to one convolution or inception layer, comes after the ReLU and has eps 1e-3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = 16  # of the maps that the dense layer sees


class MesoNet(nn.Module):
    """Four blocks that pool by 32, and a dense layer: (N, 3, H, W), H = W = image_size -> (N, 16).

    Its last activation is a LeakyReLU; the published networks end in a linear head after it.
    """

    num_features = 16

    def __init__(self, *blocks: nn.Module, image_size: int, dropout: float) -> None:
        super().__init__()
        if image_size % 32:
            raise ValueError(f"{type(self).__name__} pools by 32: image_size {image_size} is not a multiple")
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(CHANNELS * (image_size // 32) ** 2, self.num_features)
        self.activation = nn.LeakyReLU(0.1)

    @property
    def layers(self) -> list[nn.Module]:
        """The blocks and the dense layer, in order."""
        return [*self.blocks, self.dense]

    @property
    def map_layer(self) -> nn.Module:
        """The last convolution's maps before they are pooled, of 1/8 of the image's side: see Detector."""
        return self.blocks[-1][2]  # type: ignore[index]

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) -> features (N, 16)."""
        maps = self.blocks(frames)
        return self.activation(self.dense(self.dropout(torch.flatten(maps, 1))))


class Meso4(MesoNet):
    """Features of single frames by four convolutions; with a linear head the published 27,977 parameters."""

    def __init__(self, *, image_size: int = 256, dropout: float = 0.5) -> None:
        super().__init__(
            conv_block(3, 8, kernel=3, pool=2),
            conv_block(8, 8, kernel=5, pool=2),
            conv_block(8, 16, kernel=5, pool=2),
            conv_block(16, CHANNELS, kernel=5, pool=4),
            image_size=image_size,
            dropout=dropout,
        )


class MesoInception4(MesoNet):
    """The first two convolutions replaced by inception layers; with a linear head 28,615 parameters."""

    def __init__(self, *, image_size: int = 256, dropout: float = 0.5) -> None:
        super().__init__(
            nn.Sequential(Inception(3, 1, 4, 4, 2), nn.BatchNorm2d(11, eps=1e-3), nn.MaxPool2d(2)),
            nn.Sequential(Inception(11, 2, 4, 4, 2), nn.BatchNorm2d(12, eps=1e-3), nn.MaxPool2d(2)),
            conv_block(12, 16, kernel=5, pool=2),
            conv_block(16, CHANNELS, kernel=5, pool=4),
            image_size=image_size,
            dropout=dropout,
        )


class Inception(nn.Module):
    """Four branches side by side, each ending in a ReLU: (N, C, H, W) -> (N, a + b + c + d, H, W).

    The first is a 1×1 convolution to `a` channels; in the others (to b, c, d) a 3×3 convolution follows it,
    dilated by 1, 2 and 3 in place of the larger kernels of the original inception module.
    """

    def __init__(self, channels: int, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(channels, a, 1), nn.ReLU())])
        for out_channels, dilation in ((b, 1), (c, 2), (d, 3)):
            self.branches.append(
                nn.Sequential(
                    nn.Conv2d(channels, out_channels, 1),
                    nn.ReLU(),
                    nn.Conv2d(out_channels, out_channels, 3, padding="same", dilation=dilation),
                    nn.ReLU(),
                )
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W) -> the branches' maps, one after the other."""
        return torch.cat([branch(maps) for branch in self.branches], dim=1)


def conv_block(channels: int, out_channels: int, *, kernel: int, pool: int) -> nn.Sequential:
    """Convolution that keeps the size, ReLU, BatchNorm, pooling: (N, C, H, W) -> (N, C', H/pool, W/pool)."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, padding="same"),
        nn.ReLU(),
        nn.BatchNorm2d(out_channels, eps=1e-3),
        nn.MaxPool2d(pool),
    )
