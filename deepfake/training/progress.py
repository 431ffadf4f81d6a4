"""Training on the terminal: a bar while an epoch runs, then one line that stays."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger(__name__)

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
