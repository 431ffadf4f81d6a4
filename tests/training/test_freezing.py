from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from deepfake.training.callbacks import FreezeBackbone
from deepfake.training.module import DetectorModule


class Epochs(Callback):
    """The module's tensors, its BatchNorm statistics too, after every epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Whether the backbone, the head or both learned."""
    names = {name for name in after if name.startswith("detector.")}
    return {name.split(".")[1] for name in names if not torch.equal(before[name], after[name])}


def test_the_backbone_stays_as_it_is_until_its_epoch(
    fit: Callable[..., pl.Trainer], make_module: Callable[..., DetectorModule]
) -> None:
    module, epochs = make_module(optimizer=partial(torch.optim.AdamW, lr=0.01)), Epochs()
    start = {name: value.clone() for name, value in module.state_dict().items()}
    fit(module, FreezeBackbone(2), epochs, max_epochs=3)
    states = [start, *epochs.states]
    learned = [changed(*pair) for pair in pairwise(states)]
    assert learned == [{"head"}, {"head"}, {"head", "backbone"}]
