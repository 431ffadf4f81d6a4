"""Optimizer and learning rate: parameter groups with layer decay, and schedules over the steps of a training.

A schedule is a function of an optimizer and its number of steps. It returns torch schedulers; all except
ReduceLROnPlateau are stepped with the optimizer, so that a training resumes exactly within an epoch.
warmup: share of all steps in which the rate rises linearly to the optimizer's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, ReduceLROnPlateau

from deepfake.errors import UserError
from deepfake.models.detector import Detector
from deepfake.scoring.metrics import Goal

Optimizers = Callable[[Sequence[dict[str, Any]]], Optimizer]
"""Parameter groups -> their optimizer."""


def make_optimizer(detector: Detector, optimizer: Optimizers, *, layer_decay: float = 1.0) -> Optimizer:
    """The optimizer of a detector's parameters; norms and biases do not decay.

    layer_decay: learning rate of a layer of the backbone over that of the next; the head has the full one.
    """
    made = optimizer(param_groups(detector, layer_decay=layer_decay))
    for group in made.param_groups:
        group["lr"] *= group["lr_scale"]
    return made


def param_groups(detector: Detector, *, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Groups of parameters: name, params, lr_scale; those of norms and biases with weight_decay 0.

    Without layer_decay there are two: parameters with two or more dimensions, and all others.
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


class Schedule(Protocol):
    """Makes schedulers for an optimizer that will take num_steps steps; mode: of the metric of a plateau."""

    def __call__(self, optimizer: Optimizer, *, num_steps: int, mode: Goal) -> list[LRScheduler]:
        """The schedulers, in the order in which they are stepped."""


def cosine(optimizer: Optimizer, *, num_steps: int, mode: Goal, warmup: float = 0.0) -> list[LRScheduler]:
    """Half a cosine to zero after the warm-up (Loshchilov and Hutter, ICLR 2017, without restarts)."""
    num_warmup = warmup_steps(num_steps, warmup)
    return [LambdaLR(optimizer, partial(cosine_factor, num_warmup=num_warmup, num_steps=num_steps))]


def constant(optimizer: Optimizer, *, num_steps: int, mode: Goal, warmup: float = 0.0) -> list[LRScheduler]:
    """The optimizer's own rate after the warm-up."""
    num_warmup = warmup_steps(num_steps, warmup)
    return [LambdaLR(optimizer, partial(warmup_factor, num_warmup=num_warmup))]


def plateau(
    optimizer: Optimizer,
    *,
    num_steps: int,
    mode: Goal,
    warmup: float = 0.0,
    factor: float = 0.5,
    patience: int = 2,
    min_lr: float = 0.0,
) -> list[LRScheduler]:
    """Multiplies the rate by factor after more than patience validations in a row without a better value."""
    best = ReduceLROnPlateau(optimizer, mode, factor=factor, patience=patience, min_lr=min_lr)
    num_warmup = warmup_steps(num_steps, warmup)
    # LinearLR multiplies the current rate, so that neither scheduler overrides the other
    rising = [LinearLR(optimizer, 1 / num_warmup, total_iters=num_warmup - 1)] if num_warmup > 1 else []
    return [*rising, best]


def cosine_factor(step: int, *, num_warmup: int, num_steps: int) -> float:
    """Share of the full rate at a step, counted from 0."""
    if step < num_warmup:
        return warmup_factor(step, num_warmup=num_warmup)
    done = min(1.0, (step - num_warmup) / max(1, num_steps - num_warmup))
    return 0.5 * (1 + math.cos(math.pi * done))


def warmup_factor(step: int, *, num_warmup: int) -> float:
    """1/n, 2/n … 1 in the first n steps, then 1."""
    return min(1.0, (step + 1) / max(1, num_warmup))


def warmup_steps(num_steps: int, warmup: float) -> int:
    """The share warmup of all steps; raises UserError unless it is a share."""
    if not 0 <= warmup < 1:
        raise UserError(f"schedule.warmup={warmup}: a share of all steps, from 0 to below 1")
    return round(num_steps * warmup)
