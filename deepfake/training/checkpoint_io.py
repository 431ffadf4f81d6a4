"""What keeps a training from leaving half a file, or processes that wait for each other for ever."""

from __future__ import annotations

import csv
import io
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.loggers.csv_logs import _ExperimentWriter
from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers.csv_logs import CSVLogger, ExperimentWriter

from deepfake.io import replace_whole, write_csv


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


class WholeCSVLogger(CSVLogger):
    """Lightning's CSVLogger, which loses and doubles no row however it is interrupted."""

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        """What writes metrics.csv."""
        if self._experiment is None:
            self._experiment = WholeMetrics(log_dir=self.log_dir)
        return self._experiment


class WholeMetrics(ExperimentWriter):
    """Appends rows to metrics.csv; whatever was interrupted is written anew by the next save.

    Lightning's own empties the file to write it under new columns: an interruption then takes all rows.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.num_saved = 0  # rows that are whole in the file
        self.in_order = False  # there is a file, and these are all that it has

    def save(self) -> None:
        """Write what was logged since the last time."""
        if not self.metrics:
            return
        columns = sorted(set().union(self.metrics_keys, *self.metrics))
        appending, self.in_order = self.in_order and columns == self.metrics_keys, False
        path = Path(self.metrics_file_path)
        if appending:
            with path.open("a", newline="") as file:
                csv.DictWriter(file, columns, lineterminator="\n").writerows(self.metrics)
        else:
            write_csv(path, columns, [*self._saved_rows(path), *self.metrics])
        self.metrics_keys, self.num_saved = columns, self.num_saved + len(self.metrics)
        self.metrics, self.in_order = [], True

    def _saved_rows(self, path: Path) -> list[dict[str, Any]]:
        if not self.num_saved:
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))[: self.num_saved]


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
