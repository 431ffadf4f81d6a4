"""EfficientNets of Tan and Le (ICML 2019), as implemented and named by timm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from deepfake.errors import UserError

EVAL_FRAMES = 32


class EfficientNet(nn.Module):
    """Features of single frames: normalised (N, 3, H, W) -> (N, num_features).

    name: a timm model whose name says efficientnet. pretrained: start from ImageNet weights, which timm
    downloads once. grad_checkpointing: in training keep only the input of the stem and of each block, and
    compute the maps within them a second time for the gradient; in evaluation see at most EVAL_FRAMES frames
    at once. Neither changes the results. Raises UserError for an unknown name and when the weights cannot be
    had.
    """

    def __init__(
        self,
        *,
        name: str = "efficientnet_b0",
        pretrained: bool = False,
        drop_rate: float = 0.2,
        grad_checkpointing: bool = False,
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
        self.grad_checkpointing = grad_checkpointing

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
        net: Any = self.net
        # torch.compile and exports decide by themselves which maps to keep
        if not self.grad_checkpointing or torch.compiler.is_compiling():
            return net(frames)
        if not self.training:
            return torch.cat([net(some) for some in frames.split(EVAL_FRAMES)])
        maps = frames
        for block in (nn.Sequential(net.conv_stem, net.bn1), *chain.from_iterable(net.blocks)):
            maps = recomputed(block, maps)
        return net.forward_head(net.bn2(net.conv_head(maps)))


def recomputed(block: nn.Module, maps: Tensor) -> Tensor:
    """block(maps), whose inner maps are not kept but computed again when the gradient needs them.

    timm's own set_grad_checkpointing would count every batch twice in the statistics of BatchNorm.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics(block)

    return checkpoint(block, maps, use_reentrant=False, context_fn=contexts)


@contextmanager
def frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Let BatchNorm use the statistics of a batch without adding them to its running ones."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches
