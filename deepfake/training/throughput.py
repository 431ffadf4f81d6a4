"""How fast a training goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from deepfake.data.dataset import Batch


class Throughput(Callback):
    """Logs train/windows_per_s and train/frames_per_s of each epoch, of all processes together.

    What counts is the time in which an epoch trains: waiting for the loader included, validation and the
    checkpoints after it not. Lightning's ThroughputMonitor times one process, assumes that all batches have
    one size, and says nothing of an epoch shorter than its window. clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.since: float | None = None
        self.seconds = 0.0
        self.windows = self.frames = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self.seconds, self.windows, self.frames = 0.0, 0, 0
        self.since = self.clock()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Go on after a validation in mid-epoch."""
        if self.since is None:
            self.since = self.clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count the batch."""
        windows, frames = batch.crops.shape[:2]
        self.windows += windows
        self.frames += windows * frames

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self.pause(pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what all processes did in the time of the slowest."""
        self.pause(pl_module.device)
        counts = torch.tensor([self.windows, self.frames], dtype=torch.float32, device=pl_module.device)
        seconds = torch.tensor(self.seconds, dtype=torch.float32, device=pl_module.device)
        counts = trainer.strategy.reduce(counts, reduce_op="sum")
        seconds = trainer.strategy.reduce(seconds, reduce_op="max")
        for name, count in zip(("windows", "frames"), counts, strict=True):
            pl_module.log(f"train/{name}_per_s", count / seconds)

    def pause(self, device: torch.device) -> None:
        """Stop the clock when the device has done what it was given."""
        if self.since is None:
            return
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds += self.clock() - self.since
        self.since = None
