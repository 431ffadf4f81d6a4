"""From a script to its task: Hydra composes the config, the task runs, errors become one line and a status.

Nothing heavy is imported before the config is complete, so that --help and --cfg job answer at once.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import time
import traceback
import warnings
from contextlib import suppress
from functools import partial
from hashlib import sha256
from importlib import import_module
from multiprocessing import get_start_method, set_start_method
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepfake.config import to_plain
from deepfake.config_values import check_paths, check_values, explain_refusal, leaves
from deepfake.errors import SomeFailed, Stopped, UserError, error_line
from deepfake.io import short_path
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
from deepfake.signals import ReceivedSignal, explain_early_end, handle_signals
from deepfake.sweep import SWEEP

TRACEBACK = "traceback.txt"
CONF = Path(__file__).parents[1] / "conf"
PATHS = (
    *("checkpoint", "resume", "weights", "input", "output", "runs"),
    *("data.root", "data.store", "data.ffpp_root", "data.split_dir", "data.identities"),
)
"""Keys whose values are paths, which quote_paths() puts in quotes."""
IGNORED_WARNINGS = (
    "LeafSpec",
    "set_vital",
    "does not have many workers",
    "Checkpoint directory .* exists",
    "recommended to use .*sync_dist",  # every process has the same metrics
)
TASKS_WITH_WORKERS = ("extract", "predict")
EXIT_STATUSES = {DONE: 0, FAILED: 1, RUNNING: 1, KILLED: 1, MISTAKE: 2, INTERRUPTED: 130}
PLUGINS = "plugins of Hydra: uv sync --extra launch (joblib, submitit) or --extra hpo (optuna) installs them"

log = logging.getLogger(__name__)


def run(task: str, module: str | None = None) -> NoReturn:
    """Run main(config, run folder) of a module, deepfake.tasks.<task>, as the command line asks, and exit."""
    sys.stdout, sys.stderr = tolerant(sys.stdout), tolerant(sys.stderr)
    register_resolvers()
    logging.raiseExceptions = False  # a full disk would print a traceback for every line of the log file
    sweeping = bool({"-m", "--multirun"} & set(sys.argv))
    sys.argv[1:] = [quote_paths(argument, sweeping=sweeping) for argument in sys.argv[1:]]
    exit_statuses: list[int] = []

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=task)
    def job(cfg: DictConfig) -> Any:
        status = run_job(task, module or f"deepfake.tasks.{task}", cfg)
        exit_statuses.append(EXIT_STATUSES[status.status])
        return status.value

    exit_status = 0
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises what it would print in its own words
    try:
        with handle_signals():
            job()
    except SystemExit as err:
        exit_status = err.code if isinstance(err.code, int) else 0
    except KeyboardInterrupt:
        exit_status = ReceivedSignal.exit_status()
    except (HydraException, OmegaConfBaseException) as err:  # of the command line, before any job
        print(f"error: {explain_refusal(str(err), partial(all_keys, task))}", file=sys.stderr)
        exit_status = 1
    except Exception as err:
        if SWEEP.folder is None:
            raise
        log.error("the sweep ended early: %s", err)
        exit_status = EXIT_STATUSES[FAILED]
    if SWEEP.folder is not None:  # its jobs may have run in other processes
        exit_statuses = [EXIT_STATUSES[done.status.status] for done in SWEEP.end()]
    if exit_status == 1 and not exit_statuses:  # Hydra refused the command line itself
        exit_status = EXIT_STATUSES[MISTAKE]
        if any(argument.startswith(("hydra/launcher=", "hydra/sweeper=")) for argument in sys.argv):
            print(PLUGINS, file=sys.stderr)
    sys.exit(max(exit_status, *exit_statuses, 0))


class OpenEndedPipe(io.FileIO):
    """A stream of this process; once nobody reads it any more, what is written is dropped."""

    def write(self, data: Any) -> int:
        """Write bytes; the number that is done with."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return memoryview(data).nbytes


def tolerant(stream: Any) -> Any:
    """A stream of text to which every text can be written: it neither raises for a letter nor for its reader.

    A job must not fail because a terminal has another encoding, or because `| head -1` has read enough. A
    stream that is closed takes what is written and drops it; one that is no file of the system stays.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if stream not in (sys.__stdout__, sys.__stderr__):
        return stream
    try:
        raw = OpenEndedPipe(stream.fileno(), "wb", closefd=False)
        stream.flush()
    except (OSError, ValueError):
        return stream
    errors = "replace" if stream.errors in ("strict", "surrogateescape") else stream.errors
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def all_keys(task: str) -> list[str]:
    """Dotted keys of a command's default configuration, and its groups."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose(task)
    keys = [key for key, _ in leaves(composed)]
    parents = {key.rpartition(".")[0] for key in keys}
    return [key for key in (*keys, *sorted(parents - {""})) if "._" not in key]


def register_resolvers() -> None:
    """Make the functions that conf uses known to it."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("search_direction", search_direction, replace=True)
    OmegaConf.register_new_resolver("root_suffix", root_suffix, replace=True)


def run_folder(task: str, now: str, resume: str | bool | None) -> str:
    """Where a run writes: the resumed training's own folder, else a new one under outputs/<task>."""
    return str(Path(resume).parent.parent) if isinstance(resume, str) else f"outputs/{task}/{now}"


def root_suffix(root: Any) -> str:
    """What tells the store of one data.root from that of another, such as "-holiday-1f3a9c02"."""
    if root is None:
        return ""
    path = os.path.realpath(os.path.expanduser(str(root)))
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", os.path.basename(path))[:40]
    return f"-{name}-{sha256(os.fsencode(path)).hexdigest()[:8]}"


def search_direction(monitor: str) -> str:
    """Whether a search, in Optuna's words, minimizes or maximizes a metric."""
    return "minimize" if goal(monitor) == "min" else "maximize"


def run_job(task: str, module: str, cfg: DictConfig) -> Status:
    """Run a task and write into its run folder how it ended.

    The traceback of an unforeseen error is written to the run folder too.
    """
    register_resolvers()  # a sweep may have started this process
    run_dir, start_s = Path(HydraConfig.get().runtime.output_dir), time.monotonic()

    def write_status(status: str, error: object = "", value: float | None = None) -> Status:
        seconds = None if status == RUNNING else round(time.monotonic() - start_s, 3)
        process = this_process() if status == RUNNING else None
        error = " ".join(str(error).split())
        written = Status(status=status, seconds=seconds, error=error, value=value, process=process)
        if is_first_process():
            try:
                written.write(run_dir)
            except OSError as err:  # how the job ended matters more
                log.error("%s cannot be written: %s", run_dir / STATUS, err)
        return written

    write_status(RUNNING)
    if get_start_method(allow_none=True) == "loky":
        # joblib's own method, with which neither data loaders nor Dask can start processes
        set_start_method(None, force=True)
    try:
        with handle_signals(), explain_early_end(run_dir):
            check_values(cfg)
            check_paths(cfg)
            to_plain(cfg)
            if task in TASKS_WITH_WORKERS and cfg.parallel.address is None and cfg.parallel.num_workers != 0:
                # which imports what its workers need, while this process does
                import_module("deepfake.parallel.pool").start_server()
            main = import_module(module).main
            silence_libraries()
            value = main(cfg, run_dir)
        return write_status(DONE, value=value)
    except UserError as err:
        log.error("error: %s", err)
        return write_status(MISTAKE, err)
    except (SomeFailed, Stopped) as err:
        log.error("%s", err)
        return write_status(FAILED, err)
    except KeyboardInterrupt as err:
        write_status(INTERRUPTED, f"by {ReceivedSignal.name()}")
        if is_first_process():
            log.error("interrupted: %s", err)
        raise SystemExit(ReceivedSignal.exit_status()) from None
    except Exception as err:
        reason = error_line(err)
        with suppress(OSError):
            (run_dir / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
        log.error("failed: %s; the traceback is in %s", reason, short_path(run_dir / TRACEBACK))
        return write_status(FAILED, reason)


def is_first_process() -> bool:
    """Whether this process is the only or the first one of its training."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def silence_libraries() -> None:
    """Keep libraries' advertisements and deprecations off the terminal, once Lightning is imported."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=f".*{message}")


def quote_paths(argument: str, *, sweeping: bool = False) -> str:
    """An override of one of PATHS as Hydra's grammar wants it: checkpoint=a/epoch=003.ckpt needs quotes.

    So do commas, brackets, blanks and letters beyond ASCII. [a.mp4,b.mp4] is a list, each item of which is
    quoted, unless a file has that name; what is in quotes already stays. sweeping: whether commas separate
    the values of a sweep, which are quoted one by one.
    """
    key, _, value = argument.partition("=")
    part = key.startswith("data.corpora.") and key.rpartition(".")[2] in ("root", "store")
    if not (key in PATHS or part) or value in ("", "null", "true", "false") or value[0] in "'\"":
        return argument
    if sweeping:
        return argument if value[0] == "[" else f"{key}={_quote_each(value)}"
    if value[0] == "[" and value[-1] == "]" and not os.path.exists(value):
        return argument if "'" in value or '"' in value else f"{key}=[{_quote_each(value[1:-1])}]"
    return f"{key}={_quote(value)}"


def _quote_each(texts: str) -> str:
    return ",".join(_quote(text.strip()) for text in texts.split(",") if text.strip())


def _quote(text: str) -> str:
    """In single quotes; in Hydra's grammar, backslashes escape only before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"
