"""What keeps a training from leaving half a checkpoint, or processes that wait for each other for ever."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback

from deepfake.faces.claims import replace_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them.

    Lightning's own are written in the system's temporary folder, and copied from there if that is another
    disk: a process killed meanwhile leaves half a last.ckpt. Raises OSError where there is no room.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; the one that it replaces is there until it is whole."""
        assert storage_options is None
        buffer = io.BytesIO()  # torch's own writer tells no reason why it could not write
        torch.save(checkpoint, buffer)
        replace_whole(Path(path), lambda unfinished: unfinished.write_bytes(buffer.getbuffer()))


class OwnSignals(Callback):
    """Leaves SIGTERM to whoever saw to it before the trainer.

    Lightning takes it over while it runs and tells the other processes by a broadcast, which waits for ever
    where they are in the midst of something else.
    """

    def __init__(self) -> None:
        self.before = signal.getsignal(signal.SIGTERM)

    def restore(self) -> None:
        """Give it back, if it was Python's to handle."""
        if callable(self.before):
            signal.signal(signal.SIGTERM, self.before)

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the first batch."""
        self.restore()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the first batch."""
        self.restore()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the first batch."""
        self.restore()
