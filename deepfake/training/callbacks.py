"""Callbacks of a training (conf/callbacks): checkpoints, progress, weight averages and more."""

from __future__ import annotations

import io
import logging
import signal
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch.optim.swa_utils import get_ema_avg_fn

from deepfake.config import build
from deepfake.data.dataset import Batch
from deepfake.errors import UserError
from deepfake.io import atomic_path
from deepfake.scoring.metrics import goal
from deepfake.training.module import MONITORS, DetectorModule

log = logging.getLogger(__name__)

PROGRESS_METRICS = ("train/loss", "val/loss", "val/video_auroc", "val/video_accuracy")


def make_callbacks(settings: Mapping[str, Any], run_dir: Path) -> dict[str, Callback]:
    """The callbacks of cfg.callbacks (plain) by name, without those that the config switches off.

    dirpath is below the run folder. Raises UserError for a monitor that validation does not measure.
    """
    made: dict[str, Callback | None] = {}
    for name, values in settings.items():
        if values:
            place = {"dirpath": run_dir / values["dirpath"]} if "dirpath" in values else {}
            made[name] = build(values, key=f"callbacks.{name}", **place)
    return {name: callback for name, callback in made.items() if callback is not None}


def best_checkpoint(*, monitor: str, dirpath: Path, filename: str) -> ModelCheckpoint:
    """Keeps the epoch with the best monitored metric of validation."""
    return ModelCheckpoint(
        dirpath, filename, monitor=monitor, mode=best_mode(monitor), enable_version_counter=False
    )


def timed_checkpoint(*, minutes: float | None, dirpath: Path, filename: str) -> ModelCheckpoint | None:
    """Writes the training as it is every so many minutes, also within an epoch; None without minutes."""
    if minutes is None:
        return None
    interval = timedelta(minutes=minutes)
    return ModelCheckpoint(dirpath, filename, train_time_interval=interval, enable_version_counter=False)


def early_stopping(*, monitor: str, patience: int | None) -> EarlyStopping | None:
    """Ends a training after patience epochs without a better monitored metric; None without patience."""
    return None if patience is None else EarlyStopping(monitor, mode=best_mode(monitor), patience=patience)


def best_mode(monitor: str) -> str:
    """ "min" or "max"; raises UserError for a metric that validation does not measure."""
    if monitor not in MONITORS:
        raise UserError(f"monitor={monitor}: must be one of {', '.join(MONITORS)}")
    return goal(monitor)


def silence_copies() -> None:
    """Let only the first of several training processes report what it does; all may warn."""
    if getattr(rank_zero_only, "rank", 0):
        logging.getLogger("deepfake").setLevel(logging.WARNING)


class ProgressLines(RichProgressBar):
    """A progress bar while an epoch runs, and after it one log line with PROGRESS_METRICS."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """No numbers beside the bar."""
        return {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the line; validation has run by now."""
        super().on_train_epoch_end(trainer, pl_module)
        values = trainer.callback_metrics  # gathered from all processes, so every process must read them
        if trainer.is_global_zero:
            line = "  ".join(
                f"{name} {float(values[name]):.3f}" for name in PROGRESS_METRICS if name in values
            )
            log.info("epoch %d of %s  %s", trainer.current_epoch + 1, trainer.max_epochs, line)


class Throughput(Callback):
    """Logs train/windows_per_s and train/frames_per_s of each epoch, of all processes together.

    The time of an epoch includes waiting for the loader, but not validation and the checkpoints after it.
    Lightning's ThroughputMonitor measures one process only, assumes that all batches have the same size, and
    logs nothing for an epoch shorter than its window. clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.started_at: float | None = None
        self.seconds = 0.0
        self.windows = self.frames = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the counts and start the clock."""
        self.seconds, self.windows, self.frames = 0.0, 0, 0
        self.started_at = self.clock()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Start the clock again after a validation within the epoch."""
        if self.started_at is None:
            self.started_at = self.clock()

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
        """Log the rates: the counts of all processes over the time of the slowest one."""
        self.pause(pl_module.device)
        counts = torch.tensor([self.windows, self.frames], dtype=torch.float32, device=pl_module.device)
        seconds = torch.tensor(self.seconds, dtype=torch.float32, device=pl_module.device)
        counts = trainer.strategy.reduce(counts, reduce_op="sum")
        seconds = trainer.strategy.reduce(seconds, reduce_op="max")
        for name, count in zip(("windows", "frames"), counts, strict=True):
            pl_module.log(f"train/{name}_per_s", count / seconds)

    def pause(self, device: torch.device) -> None:
        """Stop the clock once the device has finished its work."""
        if self.started_at is None:
            return
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds += self.clock() - self.started_at
        self.started_at = None


class FreezeBackbone(Callback):
    """Keeps the backbone and its BatchNorm statistics unchanged for the first num_epochs epochs.

    The head learns alone meanwhile, so that its random weights do not spoil a pretrained backbone.
    """

    def __init__(self, num_epochs: int) -> None:
        self.num_epochs = num_epochs

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raise UserError where several processes would wait for gradients that never come."""
        options = getattr(trainer.strategy, "_ddp_kwargs", {})
        if self.num_epochs and trainer.world_size > 1 and not options.get("find_unused_parameters"):
            raise UserError(
                f"freeze_backbone_epochs={self.num_epochs}: several processes then need "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze the backbone, or unfreeze it."""
        assert isinstance(pl_module, DetectorModule)
        trains = trainer.current_epoch >= self.num_epochs
        pl_module.detector.backbone.requires_grad_(trains).train(trains)

    # a training that resumes within an epoch calls no on_train_epoch_start
    on_train_start = on_train_epoch_start


class AverageWeights(WeightAveraging):
    """Validates, tests and stores an average of the weights over the steps since start_epoch.

    Before start_epoch the weights themselves are used. decay: of an exponential moving average (EMA); None
    gives all steps the same weight, which is stochastic weight averaging (Izmailov et al., UAI 2018) at every
    step. The statistics of BatchNorm are averaged too.
    """

    def __init__(self, *, start_epoch: int = 0, decay: float | None = None) -> None:
        super().__init__(**({} if decay is None else {"avg_fn": get_ema_avg_fn(decay)}))
        self.start_epoch = start_epoch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the new weights to the average; before start_epoch they replace it."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.current_epoch < self.start_epoch:
            assert self._average_model is not None
            self._average_model.n_averaged.zero_()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Resume with the weights and their average; for a test the average is loaded already."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class KeepSignalHandler(Callback):
    """Keeps the handler of SIGTERM that was set before the trainer was made.

    Lightning replaces it and informs the other processes by a broadcast, which hangs while they do something
    else.
    """

    def __init__(self) -> None:
        self.before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set it again, if it is a Python function."""
        if callable(self.before):
            signal.signal(signal.SIGTERM, self.before)

    on_sanity_check_start = on_test_start = on_train_start


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint into a file beside its place and renames that.

    Lightning writes into the system's temporary folder and copies the file if that is on another disk: a
    process killed meanwhile leaves half a last.ckpt. Raises OSError for a full disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; the one that it replaces stays until the new one is complete."""
        assert storage_options is None
        buffer = io.BytesIO()  # torch's own writer does not say why it failed
        torch.save(checkpoint, buffer)
        with atomic_path(Path(path), durable=True) as part:
            part.write_bytes(buffer.getbuffer())
