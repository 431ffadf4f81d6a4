"""Before and after a sweep: are its plugins there, and how did its jobs end?"""

from __future__ import annotations

import logging
import os
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from deepfake.errors import UserError
from deepfake.reports.runs import DONE, STATUS, Run, find_runs, read_run
from deepfake.reports.tables import shown

log = logging.getLogger(__name__)

EXTRAS = {"launcher": "launch", "sweeper": "hpo"}
OLD_NAMES = ".*UniformDistribution has been deprecated"  # which the sweeper uses


class SweepWatch(Callback):
    """Tells this process's Sweep where a sweep writes.

    Not on_multirun_end: Hydra leaves that out where a launcher or sweeper gives up.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder, and what other commands left there; leave at once where a plugin is missing."""
        try:
            check_plugins(config)
        except UserError as err:
            log.error("error: %s", err)
            raise SystemExit(2) from err
        warnings.filterwarnings("ignore", message=OLD_NAMES)
        SWEEP.begin(Path(config.hydra.sweep.dir))


class Sweep:
    """The sweep that this process runs, if any."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.before: dict[Path, int] = {}

    def begin(self, folder: Path) -> None:
        """Watch a folder."""
        os.environ["HYDRA_FULL_ERROR"] = "1"  # what ends a sweep is raised, not printed
        folder.mkdir(parents=True, exist_ok=True)  # a search keeps its study there
        self.folder = folder
        self.before = written(folder)

    def end(self) -> list[Run]:
        """Print and write the table of all runs in the folder; returns those that are new."""
        if self.folder is None:
            return []
        now = written(self.folder)
        new = [read_run(run) for run, time in now.items() if self.before.get(run) != time]
        if new:
            write_table(self.folder)
        return new


SWEEP = Sweep()


def write_table(folder: Path) -> None:
    """sweep.csv, sweep.md, perhaps sweep.png, and the same on the terminal."""
    from deepfake.reports.comparison import compare, print_comparison, write_comparison

    runs = [read_run(run) for run in find_runs(folder)]
    comparison = compare(runs)
    print_comparison(comparison, "sweep")
    write_comparison(comparison, folder, "sweep")
    for run in runs:
        if run.status.status != DONE:
            log.error("%s: %s", shown(run.folder), run.status.error or f"status {run.status.status}")
    log.info("the sweep's table is in %s: sweep.csv, sweep.md", shown(folder))


def written(folder: Path) -> dict[Path, int]:
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
