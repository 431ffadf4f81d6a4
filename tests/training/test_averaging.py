from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from deepfake.training.callbacks import AverageWeights
from deepfake.training.module import DetectorModule

NAME = "detector.head.linear.weight"


class Diary(Callback):
    """The head's weight after every step, and what each validation saw."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []
        self.validated: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.steps.append(pl_module.state_dict()[NAME].clone())

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.validated.append(pl_module.state_dict()[NAME].clone())


def ema(steps: list[torch.Tensor]) -> torch.Tensor:
    average = steps[0]
    for step in steps[1:]:
        average = 0.9 * average + 0.1 * step
    return average


def mean(steps: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(steps).mean(dim=0)


@pytest.mark.parametrize(
    ("options", "average"), [({"decay": 0.9, "start_epoch": 1}, ema), ({"start_epoch": 1}, mean)]
)
def test_the_average_since_its_first_epoch_is_validated_and_stored(
    fit: Callable[..., pl.Trainer],
    make_module: Callable[..., DetectorModule],
    tmp_path: Path,
    options: dict[str, Any],
    average: Callable[[list[torch.Tensor]], torch.Tensor],
) -> None:
    diary = Diary()
    module = make_module(optimizer=partial(torch.optim.SGD, lr=0.5))
    trainer = fit(module, AverageWeights(**options), diary, max_epochs=3)
    # before epoch 1: the weights as they are; the last ones before it begin the average
    expected = [diary.steps[2], average(diary.steps[3:6]), average(diary.steps[3:9])]
    assert len(diary.steps) == 9
    for seen, value in zip(diary.validated, expected, strict=True):
        torch.testing.assert_close(seen, value)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    stored = torch.load(tmp_path / "x.ckpt", weights_only=True)
    torch.testing.assert_close(stored["state_dict"][NAME], expected[-1])
