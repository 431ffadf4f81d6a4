"""Training as scripts/train.py does it and a loop without anything around it, in turns, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from deepfake.data.datamodule import FaceDataModule
from deepfake.data.dataset import Batch
from deepfake.data.transforms import WindowTransform
from deepfake.models.detector import Detector
from deepfake.training.checkpoint import Recipe
from deepfake.training.module import DetectorModule
from deepfake.training.param_groups import Optimizers, make_optimizer
from deepfake.training.schedules import Schedule

EpochBatches = Callable[[int], Iterable[Batch]]
"""Number of an epoch -> its batches."""

Seconds = dict[str, list[float]]
"""Of an epoch, round by round: of ours and of the other."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What scripts/train.py makes of its config: trainer, loggers and callbacks wait for their folder.

    callbacks: the first keeps the best of validation, and is left out. clip: the trainer's largest norm of
    the gradient. batch_size: windows.
    """

    trainer: Callable[..., pl.Trainer]
    loggers: Mapping[str, Callable[..., Logger]]
    callbacks: Callable[..., Sequence[Callback]]
    schedule: Schedule
    transform: WindowTransform
    clip: float
    batch_size: int
    num_workers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A training loop without anything around it.

    clip: largest norm of the gradient. precision: as Lightning names it; of the mixed ones bf16-mixed alone.
    """

    detector: Detector
    optimizer: Optimizer
    batches: EpochBatches
    clip: float
    device: str
    precision: str = "32-true"

    def train(self, epoch: int) -> None:
        """One epoch."""
        params = list(self.detector.parameters())
        mixed = torch.autocast(
            torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16-mixed"
        )
        for batch in self.batches(epoch):
            crops = batch.crops.to(self.device, non_blocking=True)
            label = batch.label.to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            with mixed:
                loss = binary_cross_entropy_with_logits(self.detector(crops), label)
            loss.backward()
            clip_grad_norm_(params, self.clip)
            self.optimizer.step()


class Turns(Callback):
    """Gives another loop its turn before each epoch of a training; seconds of both, epoch by epoch.

    Ours are all between two of those turns: the batches, the callbacks, the next epoch's plan.
    """

    def __init__(self, other: Callable[[int], None], *, device: str) -> None:
        self.other = other
        self.device = device
        self.ours_s: list[float] = []
        self.other_s: list[float] = []
        self.start = 0.0  # of our turn

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End our turn, if there was one, and run the other's."""
        if trainer.current_epoch:
            self.ours_s.append(self.now() - self.start)
        start = self.now()
        self.other(trainer.current_epoch)
        self.start = self.now()
        self.other_s.append(self.start - start)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End our last turn."""
        self.ours_s.append(self.now() - self.start)

    def now(self) -> float:
        """Seconds, when all that was asked of a GPU is done."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return perf_counter()


def race(
    training: Training,
    datamodule: FaceDataModule,
    detector: Detector,
    optimizer: Optimizers,
    *,
    batches: EpochBatches,
    rounds: int,
    device: str,
    folder: Path,
    precision: str = "32-true",
) -> Seconds:
    """Seconds of an epoch of ours and of a bare loop over these batches.

    Both start from copies of the detector. A first round, in which workers start, is not counted.
    folder: where ours writes.
    """
    bare = deepcopy(detector).to(device).train()
    loop = Loop(
        detector=bare,
        optimizer=make_optimizer(bare, optimizer),
        batches=batches,
        clip=training.clip,
        device=device,
        precision=precision,
    )
    turns = Turns(loop.train, device=device)
    _, *callbacks = training.callbacks(run_dir=folder)
    trainer = training.trainer(
        accelerator="gpu" if device.startswith("cuda") else "cpu",
        precision=precision,
        max_epochs=rounds + 1,
        limit_val_batches=0,
        default_root_dir=str(folder),
        logger=[logger(save_dir=str(folder)) for logger in training.loggers.values()],
        callbacks=[turns, *callbacks],
    )
    recipe = Recipe(net={}, faces=datamodule.store.settings.to_dict())
    module = DetectorModule(deepcopy(detector), recipe, optimizer=optimizer, schedule=training.schedule)
    trainer.fit(module, datamodule=datamodule)
    return {"ours": turns.ours_s[1:], "other": turns.other_s[1:]}
