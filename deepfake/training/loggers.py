"""Loggers of a training (CSV, TensorBoard, Weights & Biases): opened with its config, closed with results."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.loggers.csv_logs import _ExperimentWriter
from lightning_fabric.loggers.logger import rank_zero_experiment
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import CSVLogger, ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from deepfake.config import build
from deepfake.errors import UserError
from deepfake.faces.store import FaceStore
from deepfake.io import write_csv
from deepfake.reports.contact_sheet import middle_face, shorten
from deepfake.reports.matrix import Matrix
from deepfake.reports.plots import precision_recall
from deepfake.scoring.metrics import roc

FACE_PX = 96  # of a thumbnail
NAME_CHARS = 128  # of a run, at most
AXES = {"roc": ("false positive rate", "true positive rate"), "pr": ("recall", "precision")}


class WandbRun(WandbLogger):
    """A run of Weights & Biases; a resumed training continues it under the id in its run folder.

    save_dir: the run folder. offline: nothing is sent. artifacts: also send best.ckpt, protocol.csv and
    leaks.json. resume: continue the run that was interrupted here. init: arguments of wandb.init.
    """

    def __init__(
        self,
        *,
        save_dir: str,
        offline: bool = False,
        artifacts: bool = False,
        resume: bool = False,
        **init: Any,
    ) -> None:
        self.id_file = Path(save_dir) / "wandb" / "run_id.txt"
        run_id = self.id_file.read_text().strip() if resume and self.id_file.is_file() else None
        # offline=True would set WANDB_MODE for the sweep's next jobs too
        super().__init__(save_dir=save_dir, id=run_id, mode="offline" if offline else None, **init)
        del self._wandb_init["anonymous"]  # Lightning's; W&B warns of it, whatever its value
        self.offline = offline
        self.artifacts = artifacts

    @rank_zero_only
    def start(self) -> None:
        """Start the run; raises UserError if no user is logged in, or W&B refuses or does not answer."""
        import wandb

        hint = "add logger.wandb.offline=true, or run `wandb login` first"
        try:
            settings = wandb.setup().settings
            if self.offline:
                settings.mode = "offline"  # the run's own mode alone would not stop W&B's usage reports
            if settings.mode in ("online", "run", "shared") and not wandb.login(prompt=False, verify=False):
                raise UserError(f"logger=wandb: no user is logged in to Weights & Biases; {hint}")
            self.id_file.parent.mkdir(parents=True, exist_ok=True)
            self.id_file.write_text(f"{self.experiment.id}\n")
        except wandb.errors.Error as err:
            raise UserError(f"logger=wandb: {err}; {hint}") from err

    def publish(self, run_dir: Path, store: FaceStore, *, step: int) -> None:
        """Send plots, curves and the table of test videos; metrics.json becomes the summary."""
        import wandb

        metrics = json.loads((run_dir / "metrics.json").read_text())
        rows = read_predictions(run_dir)
        shown: dict[str, Any] = {f"plots/{path.stem}": wandb.Image(str(path)) for path in plots(run_dir)}
        # plot.roc_curve would need pandas; with these names the curves of several runs share one chart
        for name, points in curves(rows).items():
            x, y = AXES[name]
            shown[f"curves/{name}"] = wandb.plot.line(wandb.Table([x, y], points), x, y, title=name)
        with staging_folder(self.id_file.parent / "staged"):
            table = wandb.Table(["face", *rows[0]])
            for row in rows:
                scored = row["prob"] is not None
                face = wandb.Image(thumbnail(store, row["video"]), file_type="jpg") if scored else None
                table.add_data(face, *row.values())
            shown["test/predictions"] = table
            self.experiment.log(shown | {"trainer/global_step": step})
            self.experiment.summary.update(metrics)
            if self.artifacts:
                self.send_artifacts(run_dir, metrics)

    def send_artifacts(self, run_dir: Path, metrics: Mapping[str, Any]) -> None:
        """Send the checkpoint and the protocol as artifacts of the run."""
        import wandb

        # W&B accepts at most a hundred values
        sent = {name: value for name, value in metrics.items() if "/" not in name or "/video_" in name}
        checkpoint = wandb.Artifact(f"checkpoint-{self.experiment.id}", "model", metadata=sent)
        checkpoint.add_file(str(run_dir / "checkpoints" / "best.ckpt"))
        protocol = wandb.Artifact(f"protocol-{metrics['protocol_hash']}", "protocol")
        for name in ("protocol.csv", "leaks.json"):
            protocol.add_file(str(run_dir / name))
        for artifact in (checkpoint, protocol):
            self.experiment.log_artifact(artifact)


@contextmanager
def staging_folder(folder: Path) -> Iterator[None]:
    """Stage files of tables and artifacts in a folder until their upload, not below the home folder."""
    own = "WANDB_DATA_DIR" in os.environ
    os.environ.setdefault("WANDB_DATA_DIR", str(folder))
    try:
        yield
    finally:
        if not own:
            del os.environ["WANDB_DATA_DIR"]


@contextmanager
def open_loggers(config: Mapping[str, Any], run_dir: Path) -> Iterator[list[Logger]]:
    """The loggers of the config, which write below the run folder and have logged the config.

    They are closed at the end, as failed if the block raises; the next job of a sweep opens its own.
    """
    loggers: list[Logger] = []
    status = "failed"
    try:
        for name, settings in config["logger"].items():
            loggers.append(make_logger(name, settings, run_dir, resume=config["resume"] is not None))
        for logger in loggers:
            if isinstance(logger, WandbRun):
                logger.start()
            logger.log_hyperparams(dict(config))
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("config", f"```yaml\n{OmegaConf.to_yaml(config)}```")
        yield loggers
        status = "success"
    finally:
        with ExitStack() as stack:  # closes each of them, even if another raises
            if wandb := sys.modules.get("wandb"):
                stack.callback(wandb.teardown)  # else the next job gets this job's settings
                stack.callback(wandb.finish, exit_code=int(status == "failed"))
            for logger in reversed(loggers):
                stack.callback(logger.finalize, status)


def make_logger(name: str, settings: Mapping[str, Any], run_dir: Path, *, resume: bool) -> Logger:
    """One logger of the config; raises UserError if what it needs is not installed."""
    place: dict[str, Any] = {"save_dir": str(run_dir)}
    if name == "wandb":
        own_name, group = name_and_group(run_dir)
        place |= {"name": settings["name"] or own_name, "group": settings["group"] or group, "resume": resume}
    try:
        return build(settings, **place)
    except ModuleNotFoundError as err:
        raise UserError(f"logger={name}: {err}; install it with: uv sync --extra {name}") from err


def name_and_group(run_dir: Path) -> tuple[str, str | None]:
    """Name and group of a run: its folder and None; in a sweep the job's overrides and the sweep's folder.

    Overrides that the job's folder name omits are omitted here too, and so are those of the logger.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return run_dir.name, None
    config = HydraConfig.get()
    omitted = config.job.config.override_dirname.exclude_keys
    overrides = [
        override
        for override in config.overrides.task
        if (key := override.partition("=")[0]) not in omitted and key.partition(".")[0] != "logger"
    ]
    return shorten(" ".join(overrides) or run_dir.name, NAME_CHARS), Path(config.sweep.dir).name


def publish(
    loggers: Sequence[Logger],
    run_dir: Path,
    store: FaceStore,
    *,
    step: int,
    best: ModelCheckpoint | None = None,
) -> None:
    """Send the results in the run folder to the loggers that show pictures, at a step."""
    for logger in loggers:
        if isinstance(logger, WandbRun):
            logger.publish(run_dir, store, step=step)
            if best is not None and best.best_model_score is not None:
                logger.experiment.summary[f"best/{best.monitor}"] = float(best.best_model_score)
        if isinstance(logger, TensorBoardLogger):
            for path in plots(run_dir):
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                logger.experiment.add_image(f"plots/{path.stem}", pixels, step, dataformats="HWC")


def publish_matrix(settings: Mapping[str, Any], folder: Path, matrix: Matrix) -> None:
    """Send the matrix of a sweep as a run of its own in the sweep's group."""
    import wandb

    group = settings["group"] or folder.name
    logger: WandbRun = build(settings, save_dir=str(folder), name="matrix", group=group)
    logger.start()
    rows = list(matrix.cells.values())
    table = wandb.Table(list(rows[0]), [list(row.values()) for row in rows])
    logger.experiment.log({"matrix": wandb.Image(str(folder / "matrix.png")), "matrix/cells": table})
    wandb.finish()
    wandb.teardown()


def plots(run_dir: Path) -> list[Path]:
    """The plots of a run."""
    return sorted((run_dir / "plots").glob("*.png"))


def read_predictions(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of predictions.csv with numbers as numbers; an empty prob is None."""
    with (run_dir / "predictions.csv").open(newline="") as file:
        return [
            row
            | {name: int(row[name]) for name in ("label", "tracks", "frames")}
            | {"prob": float(row["prob"]) if row["prob"] else None}
            for row in csv.DictReader(file)
        ]


def thumbnail(store: FaceStore, video: str) -> np.ndarray:
    """A face (FACE_PX, FACE_PX, 3) uint8 RGB of a scored video."""
    return cv2.resize(middle_face(store.read(video)), (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Points (x, y) of the ROC and of precision over recall; {} unless both classes were scored."""
    scored = [row for row in rows if row["prob"] is not None]
    prob = np.array([row["prob"] for row in scored])
    label = np.array([row["label"] for row in scored], np.int64)
    if len(np.unique(label)) < 2:
        return {}
    false, true = roc(prob, label)
    lines = {"roc": (false / false[-1], true / true[-1]), "pr": precision_recall(prob, label)}
    return {name: np.stack(points, axis=1).tolist() for name, points in lines.items()}


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
