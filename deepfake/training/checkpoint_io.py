"""Checkpoints and metrics.csv of a training, written atomically, and what may be resumed."""

from __future__ import annotations

import csv
import io
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.loggers.csv_logs import _ExperimentWriter
from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers.csv_logs import CSVLogger, ExperimentWriter

from deepfake.errors import UserError
from deepfake.io import atomic_path, write_csv
from deepfake.training.checkpoint import Checkpoint, read_checkpoint, read_content


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


class AtomicCSVLogger(CSVLogger):
    """Lightning's CSVLogger, except that an interruption neither loses nor doubles a row."""

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        """The writer of metrics.csv."""
        if self._experiment is None:
            self._experiment = AtomicMetrics(log_dir=self.log_dir)
        return self._experiment


class AtomicMetrics(ExperimentWriter):
    """Appends rows to metrics.csv; the next save repeats what was interrupted.

    Lightning's own writer empties the file to write it with new columns: an interruption then loses all rows.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.num_saved = 0  # complete rows in the file
        self.is_consistent = False  # whether the file has these rows and no others

    def save(self) -> None:
        """Write the rows logged since the last save."""
        if not self.metrics:
            return
        columns = sorted(set().union(self.metrics_keys, *self.metrics))
        appending, self.is_consistent = self.is_consistent and columns == self.metrics_keys, False
        path = Path(self.metrics_file_path)
        if appending:
            with path.open("a", newline="") as file:
                csv.DictWriter(file, columns, lineterminator="\n").writerows(self.metrics)
        else:
            write_csv(path, columns, [*self._saved_rows(path), *self.metrics])
        self.metrics_keys, self.num_saved = columns, self.num_saved + len(self.metrics)
        self.metrics, self.is_consistent = [], True

    def _saved_rows(self, path: Path) -> list[dict[str, Any]]:
        if not self.num_saved:
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))[: self.num_saved]


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


def check_resume(path: Path, own: Checkpoint) -> None:
    """Raise UserError unless a training that would write such checkpoints can resume from this one."""
    check_paths(read_content(path, key="resume"), path)
    old = read_checkpoint(path, key="resume")
    for name in ("net", "faces"):
        if getattr(old, name) != getattr(own, name):
            raise UserError(
                f"resume={path}: its {name} settings are not those of this command; repeat the overrides "
                f"in {path.parent.parent / '.hydra' / 'overrides.yaml'}"
            )


def check_paths(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise UserError if the callbacks in a resumed checkpoint name checkpoints of another folder.

    Lightning reads the best of them after training, and deletes those that a better one replaces.
    """
    states = checkpoint.get("callbacks") or {}
    if not isinstance(states, Mapping) or not all(isinstance(state, Mapping) for state in states.values()):
        raise UserError(f"resume={path}: its callbacks have no states")
    for state in states.values():
        named = [state.get(f"{kind}_model_path") or "" for kind in ("best", "last", "kth_best")]
        for name in filter(None, [*named, *(state.get("best_k_models") or ())]):
            plain = isinstance(name, str) and ".." not in Path(name).parts and "://" not in name
            if not plain or Path(name).suffix != ".ckpt" or Path(name).parent.name != path.parent.name:
                raise UserError(f"resume={path}: it names a checkpoint that is not of its run: {name!r:.80}")
