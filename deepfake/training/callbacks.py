"""Averages of the weights along a training, which generalise better than the last ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, RichProgressBar, WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch.optim.swa_utils import get_ema_avg_fn

from deepfake.data.dataset import Batch
from deepfake.errors import UserError
from deepfake.training.module import DetectorModule

log = logging.getLogger(__name__)


class AverageWeights(WeightAveraging):
    """Validates, tests and stores an average over the steps since start_epoch; before it, the weights.

    decay: of an exponential moving average (EMA); None weighs all steps alike, which is stochastic weight
    averaging (Izmailov et al., UAI 2018) at every step. Statistics of BatchNorm are averaged along.
    """

    def __init__(self, *, start_epoch: int = 0, decay: float | None = None) -> None:
        super().__init__(**({} if decay is None else {"avg_fn": get_ema_avg_fn(decay)}))
        self.start_epoch = start_epoch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the new weights in; until the average begins, they replace it."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.current_epoch < self.start_epoch:
            assert self._average_model is not None
            self._average_model.n_averaged.zero_()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with both kinds of weights; a test is one of the average, which is loaded already."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


# Training the head alone at first, so that its random weights do not spoil a pretrained backbone.


class FreezeBackbone(Callback):
    """Leaves the backbone as it is, its BatchNorm statistics too, for the first num_epochs epochs."""

    def __init__(self, num_epochs: int) -> None:
        self.num_epochs = num_epochs

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raise UserError where processes would wait for gradients that never come."""
        options = getattr(trainer.strategy, "_ddp_kwargs", {})
        if trainer.world_size > 1 and not options.get("find_unused_parameters"):
            raise UserError(
                f"freeze_backbone_epochs={self.num_epochs}: several processes then need "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze or free it."""
        assert isinstance(pl_module, DetectorModule)
        learns = trainer.current_epoch >= self.num_epochs
        pl_module.detector.backbone.requires_grad_(learns).train(learns)

    # a training that is resumed in mid-epoch starts no epoch
    on_train_start = on_train_epoch_start


# Training on the terminal: a bar while an epoch runs, then one line that stays.


SHOWN = ("train/loss", "val/loss", "val/video_auroc", "val/video_accuracy")


def hush_copies() -> None:
    """Let only the first of several training processes tell what it does; all may warn."""
    if getattr(rank_zero_only, "rank", 0):
        logging.getLogger("deepfake").setLevel(logging.WARNING)


class EpochLines(RichProgressBar):
    """Lightning's bar, without its numbers, and a log line of the metrics that matter after each epoch."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Nothing beside the bar."""
        return {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went; validation has run by now."""
        super().on_train_epoch_end(trainer, pl_module)
        values = trainer.callback_metrics  # gathered from all processes, so all must ask
        if trainer.is_global_zero:
            line = "  ".join(f"{name} {float(values[name]):.3f}" for name in SHOWN if name in values)
            log.info("epoch %d of %s  %s", trainer.current_epoch + 1, trainer.max_epochs, line)


# How fast a training goes.


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
