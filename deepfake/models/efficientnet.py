"""EfficientNets of Tan and Le (ICML 2019), as implemented and named by timm."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from deepfake.errors import UserError


class EfficientNet(nn.Module):
    """Features of single frames: normalised (N, 3, H, W) -> (N, num_features).

    name: a timm model whose name says efficientnet. pretrained: start from ImageNet weights, which timm
    downloads once. Raises UserError for an unknown name and when the weights cannot be had.
    """

    def __init__(
        self, *, name: str = "efficientnet_b0", pretrained: bool = False, drop_rate: float = 0.2
    ) -> None:
        super().__init__()
        if "efficientnet" not in name or not timm.is_model(name):
            raise UserError(
                f"model.name={name}: not an EfficientNet of timm; try efficientnet_b0 … efficientnet_b4"
            )
        try:
            self.net = timm.create_model(name, pretrained=pretrained, num_classes=0, drop_rate=drop_rate)
        except Exception as err:
            if not pretrained:
                raise
            raise UserError(
                f"model.pretrained=true: timm could not load the ImageNet weights of {name} "
                f"({type(err).__name__}). They are downloaded on first use: run once with network access, "
                "or set model.pretrained=false"
            ) from err
        self.num_features = int(self.net.num_features)  # type: ignore[arg-type]

    @property
    def layers(self) -> list[nn.Module]:
        """The stem, each stage's blocks, and what follows them, in order."""
        net: Any = self.net
        stem, end = (nn.ModuleList(parts) for parts in ((net.conv_stem, net.bn1), (net.conv_head, net.bn2)))
        return [stem, *(block for stage in net.blocks for block in stage), end]

    @property
    def map_layer(self) -> nn.Module:
        """The maps that are averaged into features, of 1/32 of the image's side: see Detector."""
        net: Any = self.net
        return net.bn2

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) -> features (N, num_features)."""
        return self.net(frames)
