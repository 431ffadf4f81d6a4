"""From a script to its task: Hydra composes the config, the task runs, errors become one line and a status.

Nothing heavy is imported before the config is whole, so that --help and --cfg job answer at once.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from importlib import import_module
from multiprocessing import get_start_method, set_start_method
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from deepfake.errors import SomeFailed, Stopped, UserError
from deepfake.reports.runs import (
    DONE,
    FAILED,
    INTERRUPTED,
    KILLED,
    MISTAKE,
    RUNNING,
    STATUS,
    Status,
    this_process,
)
from deepfake.scoring.metrics import goal
from deepfake.signals import Received, heeded, told
from deepfake.sweep import SWEEP

CONF = Path(__file__).parents[1] / "conf"
PATHS = (
    "checkpoint",
    "resume",
    "weights",
    "input",
    "output",
    "runs",
    "data.root",
    "data.store",
    "data.ffpp_root",
    "data.split_dir",
    "data.identities",
)
NOISES = (
    "LeafSpec",
    "set_vital",
    "does not have many workers",
    "Checkpoint directory .* exists",
    "recommended to use .*sync_dist",  # every process has the same metrics
)
READING_FILES = ("extract", "predict")
EXITS = {DONE: 0, FAILED: 1, RUNNING: 1, KILLED: 1, MISTAKE: 2, INTERRUPTED: 130}
PLUGINS = "plugins of Hydra: uv sync --extra launch (joblib, submitit) or --extra hpo (optuna) installs them"

log = logging.getLogger(__name__)


def run_folder(task: str, now: str, resume: str | bool | None) -> str:
    """Where a run writes: the resumed training's own folder, else a new one under outputs/<task>."""
    return str(Path(resume).parent.parent) if isinstance(resume, str) else f"outputs/{task}/{now}"


def run(task: str, module: str | None = None) -> NoReturn:
    """Run main(config, run folder) of a module, deepfake.tasks.<task>, as the command line asks, and exit."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("study_direction", study_direction, replace=True)
    logging.raiseExceptions = False  # a full disk would print a traceback for every line of the log file
    several = bool({"-m", "--multirun"} & set(sys.argv))
    sys.argv[1:] = [quoted(argument, several=several) for argument in sys.argv[1:]]
    exits: list[int] = []

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=task)
    def job(cfg: DictConfig) -> Any:
        status = work(task, module or f"deepfake.tasks.{task}", cfg)
        exits.append(EXITS[status.status])
        return status.value

    stopped = 0
    try:
        with heeded():
            job()
    except SystemExit as stop:
        stopped = stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        stopped = Received.status()
    except Exception as err:
        if SWEEP.folder is None:
            raise
        log.error("the sweep ended early: %s", err)
        stopped = EXITS[FAILED]
    if SWEEP.folder is not None:  # its jobs may have run in other processes
        exits = [EXITS[ended.status.status] for ended in SWEEP.end()]
    if stopped == 1 and not exits:  # Hydra refused the command line itself
        stopped = EXITS[MISTAKE]
        if any(argument.startswith(("hydra/launcher=", "hydra/sweeper=")) for argument in sys.argv):
            print(PLUGINS, file=sys.stderr)
    sys.exit(max(stopped, *exits, 0))


def work(task: str, module: str, cfg: DictConfig) -> Status:
    """Run a task and note in its run folder how it ended.

    What nobody foresaw is raised, but in a sweep: the other jobs are to go on, whatever runs them.
    """
    run_dir, start = Path(HydraConfig.get().runtime.output_dir), time.monotonic()

    def ended(status: str, error: object = "", value: float | None = None) -> Status:
        seconds = None if status == RUNNING else round(time.monotonic() - start, 3)
        process = this_process() if status == RUNNING else None
        error = " ".join(str(error).split())
        note = Status(status=status, seconds=seconds, error=error, value=value, process=process)
        if first_process():
            write_down(note, run_dir)
        return note

    ended(RUNNING)
    if get_start_method(allow_none=True) == "loky":
        # joblib's own way, in which neither loaders nor Dask can start processes
        set_start_method(None, force=True)
    try:
        with heeded(), told(run_dir):
            if task in READING_FILES and cfg.parallel.address is None and cfg.parallel.num_workers != 0:
                import_module(
                    "deepfake.parallel"
                ).start_server()  # which imports what its workers need, while this process does
            main = import_module(module).main
            quieten()
            value = main(cfg, run_dir)
        return ended(DONE, value=value)
    except UserError as err:
        log.error("error: %s", err)
        return ended(MISTAKE, err)
    except (SomeFailed, Stopped) as err:
        log.error("%s", err)
        return ended(FAILED, err)
    except KeyboardInterrupt as err:
        ended(INTERRUPTED, f"by {Received.name()}")
        if first_process():
            log.error("interrupted: %s", err)
        raise SystemExit(Received.status()) from None
    except Exception as err:
        note = ended(FAILED, f"{type(err).__name__}: {err}")
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        log.exception("%s", err)
        return note


def write_down(status: Status, run_dir: Path) -> None:
    """Note it in the run folder; where that cannot be written, how the job ended is what matters."""
    try:
        status.write(run_dir)
    except OSError as err:
        log.error("%s cannot be written: %s", run_dir / STATUS, err)


def first_process() -> bool:
    """Whether this process is the only or the first one of its training."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def study_direction(monitor: str) -> str:
    """Where a search over training values goes, in Optuna's words."""
    return "minimize" if goal(monitor) == "min" else "maximize"


def quoted(argument: str, *, several: bool = False) -> str:
    """A path's override as Hydra's grammar wants it: checkpoint=a/epoch=003.ckpt needs quotes.

    So do commas, brackets, blanks and letters beyond ASCII. [a.mp4,b.mp4] is a list, each of it quoted,
    unless a file is called so; what is in quotes already stays. several: whether commas part the values of a
    sweep, which are quoted one by one.
    """
    key, _, value = argument.partition("=")
    part = key.startswith("data.corpora.") and key.rpartition(".")[2] in ("root", "store")
    if not (key in PATHS or part) or value in ("", "null", "true", "false") or value[0] in "'\"":
        return argument
    if several:
        return argument if value[0] == "[" else f"{key}={quote_each(value)}"
    if value[0] == "[" and value[-1] == "]" and not os.path.exists(value):
        return argument if "'" in value or '"' in value else f"{key}=[{quote_each(value[1:-1])}]"
    return f"{key}={quote(value)}"


def quote_each(texts: str) -> str:
    """Each of several texts, parted by commas, in quotes."""
    return ",".join(quote(text.strip()) for text in texts.split(",") if text.strip())


def quote(text: str) -> str:
    """In single quotes; backslashes count as such only before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def quieten() -> None:
    """Keep libraries' adverts and deprecations off the terminal; Lightning sets its level on import."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for noise in NOISES:
        warnings.filterwarnings("ignore", message=f".*{noise}")
