"""Which parameters learn how fast, and which decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from deepfake.models.detector import Detector

Optimizers = Callable[[Sequence[dict[str, Any]]], Optimizer]
"""An optimizer that still waits for its parameter groups."""


def make_optimizer(detector: Detector, optimizer: Optimizers, *, layer_decay: float = 1.0) -> Optimizer:
    """The optimizer of a detector's parameters; norms and biases do not decay.

    layer_decay: rate of a layer of the backbone over that of the next one; the head has the full rate.
    """
    made = optimizer(param_groups(detector, layer_decay=layer_decay))
    for group in made.param_groups:
        group["lr"] *= group["lr_scale"]
    return made


def param_groups(detector: Detector, *, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Groups of parameters: name, params, lr_scale; those of norms and biases with weight_decay 0.

    Without layer_decay they are two: weights with two or more dimensions, and all others.
    """
    parts: dict[str, nn.Module] = {"all": detector}
    if layer_decay != 1:
        layers: list[nn.Module] = detector.backbone.layers  # type: ignore[assignment]
        parts = {f"layer{number:02}": layer for number, layer in enumerate(layers)} | {"head": detector.head}
    groups = []
    for place, (name, part) in enumerate(parts.items()):
        scale = layer_decay ** (len(parts) - 1 - place)
        weights = [param for param in part.parameters() if param.ndim > 1]
        others = [param for param in part.parameters() if param.ndim <= 1]
        if weights:
            groups.append({"name": f"{name}_weights", "params": weights, "lr_scale": scale})
        if others:
            no_decay = {"params": others, "lr_scale": scale, "weight_decay": 0.0}
            groups.append({"name": f"{name}_norms_and_biases", **no_decay})
    return groups
