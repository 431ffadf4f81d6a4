"""Sweeps: a check of their plugins at the start, and a table of their runs at the end."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from deepfake.errors import UserError
from deepfake.io import short_path
from deepfake.reports.runs import DONE, STATUS, Run, find_runs, read_run

log = logging.getLogger(__name__)

EXTRAS = {"launcher": "launch", "sweeper": "hpo"}
DEPRECATIONS = ".*UniformDistribution has been deprecated"  # which the sweeper uses


class SweepCallback(Callback):
    """Hydra calls this when a sweep starts; at its end it may not, if a launcher or sweeper gives up."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note where the sweep writes; exit at once where a plugin is missing."""
        try:
            check_plugins(config)
        except UserError as err:
            log.error("error: %s", err)
            raise SystemExit(2) from err
        warnings.filterwarnings("ignore", message=DEPRECATIONS)
        SWEEP.begin(Path(config.hydra.sweep.dir), config.hydra.job.name)


class Sweep:
    """The sweep that this process runs, if any."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.task = ""
        self.before: dict[Path, int] = {}  # what other commands left in the folder

    def begin(self, folder: Path, task: str) -> None:
        """Watch the folder of a task's sweep."""
        os.environ["HYDRA_FULL_ERROR"] = "1"  # what ends a sweep is raised, not printed
        folder.mkdir(parents=True, exist_ok=True)  # a search keeps its study there
        self.folder, self.task = folder, task
        self.before = status_times(folder)

    def end(self) -> list[Run]:
        """Print and write the table of all runs in the folder; returns those that are new."""
        if self.folder is None:
            return []
        now = status_times(self.folder)
        new = [read_run(run) for run, time in now.items() if self.before.get(run) != time]
        if new:
            (finish_matrix if self.task == "evaluate" else finish_table)(self.folder)
        return new


SWEEP = Sweep()


def finish_table(folder: Path) -> None:
    """sweep.csv, sweep.md, sweep.html and its plots, and the same on the terminal."""
    from deepfake.reports.compare import compare, print_comparison, write_comparison

    runs = [read_run(run) for run in find_runs(folder)]
    comparison = compare(runs)
    print_comparison(comparison, "sweep")
    write_comparison(comparison, folder, "sweep")
    log_failures(runs)
    log.info("the sweep's table is in %s: sweep.html, sweep.md, sweep.csv", short_path(folder))


def finish_matrix(folder: Path) -> None:
    """matrix.csv, .json, .png and .html of evaluations, and the same on the terminal and in W&B."""
    from deepfake.reports.matrix import matrix_of, print_matrix, write_matrix

    runs = [read_run(run) for run in find_runs(folder)]
    matrix = matrix_of(runs)
    print_matrix(matrix)
    write_matrix(matrix, folder)
    log_failures(runs)
    settings = next((run.setting("logger.wandb") for run in runs if run.setting("logger.wandb")), None)
    if settings is not None:
        from deepfake.training.loggers import publish_matrix

        publish_matrix(settings, folder, matrix)
    log.info("the matrix is in %s: matrix.html, .png, .csv, .json", short_path(folder))


def log_failures(runs: Sequence[Run]) -> None:
    """Log every run that was not done."""
    for run in runs:
        if run.status.status != DONE:
            log.error("%s: %s", short_path(run.folder), run.status.error or f"status {run.status.status}")


def status_times(folder: Path) -> dict[Path, int]:
    """When each run in a folder wrote its status."""
    files = {run: run / STATUS for run in find_runs(folder)}
    return {run: file.stat().st_mtime_ns if file.is_file() else 0 for run, file in files.items()}


def check_plugins(config: DictConfig) -> None:
    """Raise UserError if the launcher or the sweeper of a config is not installed."""
    for part, extra in EXTRAS.items():
        module = config.hydra[part]["_target_"].rpartition(".")[0]
        try:
            import_module(module)
        except ModuleNotFoundError as err:
            chosen = config.hydra.runtime.choices[f"hydra/{part}"]
            raise UserError(
                f"hydra/{part}={chosen}: {err}; install it with: uv sync --extra {extra}"
            ) from err
