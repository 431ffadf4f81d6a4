"""Run folders: settings, status and metrics of a job; and the machine and versions it ran on.

The command line imports this module for every command, so that heavy libraries stay out of it.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any

import psutil
from omegaconf import OmegaConf

from deepfake.corpora.leakage import MEASURES
from deepfake.io import disk_is_full, package_version, write_json
from deepfake.scoring.metrics import goal

STATUS = "status.json"
HYDRA_CONFIG = ".hydra/hydra.yaml"
NOT_AUDITED = "not audited: the checkpoint does not say what it was trained on"
RUNNING, DONE, FAILED, MISTAKE, INTERRUPTED = "running", "done", "failed", "mistake", "interrupted"
KILLED = "killed"  # never written, but read from a job that is marked as running and is not

History = dict[str, dict[int, float]]
"""Values of each logged metric by epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a job ended, or that it is running. value: what its task returned. process: where it runs."""

    status: str
    seconds: float | None = None
    error: str = ""
    value: float | None = None
    process: Mapping[str, Any] | None = None

    def write(self, run_dir: Path) -> None:
        """Write status.json; a full disk overwrites the file that is there in place."""
        path = run_dir / STATUS
        try:
            write_json(path, asdict(self))
        except OSError as err:
            if not disk_is_full(err) or not path.is_file():
                raise
            with path.open("r+", encoding="utf-8") as file:  # which has its room on the disk
                file.write(json.dumps(asdict(self), indent=2) + "\n")
                file.truncate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The contents of a run folder.

    keys: what its command set, in order. choices: those of config groups. metrics: metrics.json, empty if
    nothing was scored. protocol, protocol_hash: those of its videos, empty before they were known.
    """

    folder: Path
    keys: tuple[str, ...]
    overrides: tuple[str, ...]
    config: Any
    choices: Mapping[str, Any]
    status: Status
    history: History = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = ""
    protocol_hash: str = ""

    @property
    def stage(self) -> str:
        """The split that was scored: the split setting of an evaluation, else test."""
        return self.setting("split") or "test"

    def setting(self, key: str) -> Any:
        """The value of a key, or the choice of a config group; None if the run has no such key."""
        if key in self.choices:
            return self.choices[key]
        return OmegaConf.select(self.config, key, throw_on_missing=False, throw_on_resolution_failure=False)

    @property
    def monitor(self) -> str:
        """The metric by which the best epoch was chosen."""
        return self.setting("monitor") or ""

    @property
    def best_epoch(self) -> int | None:
        """The first epoch with the best monitored value; None before the first validation."""
        values = {epoch: v for epoch, v in self.history.get(self.monitor, {}).items() if not isnan(v)}
        best = min if goal(self.monitor) == "min" else max
        return best(sorted(values), key=values.__getitem__) if values else None

    def metric(self, metric: str) -> float | None:
        """A metric from metrics.json, else (val/…) from the best epoch."""
        if metric in self.metrics or self.best_epoch is None:
            return self.metrics.get(metric)
        value = self.history.get(metric, {}).get(self.best_epoch)
        return None if value is None or isnan(value) else value


def read_history(logs: Iterable[Path]) -> History:
    """The metrics.csv files of a run and of its resumptions, in order."""
    history: History = {}
    for log in logs:
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and row["epoch"] and name not in ("epoch", "step"):
                        history.setdefault(name, {})[int(row["epoch"])] = float(value)
    return history


def find_runs(folder: Path) -> list[Path]:
    """The run folders in a folder or below it: 2_… comes before 10_…."""
    if (folder / HYDRA_CONFIG).is_file():
        return [folder]
    return sorted((found.parents[1] for found in folder.rglob(HYDRA_CONFIG)), key=natural)


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts numbers within names by their size."""
    return [(int(part or 0), text) for text, part in re.findall(r"([^\d]*)(\d*)", str(path))]


def read_run(folder: Path) -> Run:
    """Read a run folder; the run may have failed, been killed, or still be running."""
    hydra = OmegaConf.load(folder / HYDRA_CONFIG).hydra
    overrides = tuple(hydra.overrides.task)
    resolved, metrics = folder / "config.yaml", read_json(folder / "metrics.json")
    protocol = metrics or read_json(folder / "leaks.json")
    return Run(
        folder=folder,
        keys=tuple(dict.fromkeys(text.partition("=")[0].lstrip("+~") for text in overrides)),
        overrides=overrides,
        config=OmegaConf.load(resolved if resolved.is_file() else folder / ".hydra" / "config.yaml"),
        choices=hydra.runtime.choices,
        status=read_status(folder, finished=bool(metrics)),
        history=read_history(sorted(folder.glob("logs/version_*/metrics.csv"), key=natural)),
        metrics=metrics,
        protocol=protocol.get("protocol", ""),
        protocol_hash=protocol.get("protocol_hash", ""),
    )


def read_status(folder: Path, *, finished: bool = False) -> Status:
    """What the job wrote; without status.json, whether it finished.

    A running job whose process has ended was killed. That cannot be known of a process on another machine.
    """
    values = read_json(folder / STATUS)
    if not values:
        return Status(status=DONE if finished else RUNNING)
    status = Status(**values)
    if status.status == RUNNING and status.process and is_gone(status.process):
        return replace(status, status=KILLED, error="its process was killed, perhaps because memory ran out")
    return status


def this_process() -> dict[str, Any]:
    """What identifies this process; the start time is needed because process numbers are reused."""
    own = psutil.Process()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": own.create_time()}


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process of this machine has ended; False for another machine's."""
    if process["host"] != socket.gethostname():
        return False
    try:
        found = psutil.Process(process["pid"])
        # the clock may have been adjusted since then, so that start times may differ a little
        return abs(found.create_time() - process["started"]) > 1 or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def read_json(path: Path) -> dict[str, Any]:
    """A file's object; an empty one if there is no file, or if a killed job left half of one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def describe_leaks(audit: Mapping[str, Any]) -> tuple[str, ...]:
    """What test shares with training and selection according to leaks.json, in words; nothing without one."""
    if not audit:
        return ()
    if not audit["overlaps"]:
        return (NOT_AUDITED,)
    # in the audit of a training the first comparison, test with train and val, includes the others
    shares = next(iter(audit["overlaps"].values()))
    return tuple(
        f"{share['shared']} of {share['of']} {MEASURES[name]}"
        for name, share in shares.items()
        if share["shared"]
    )


def varying_keys(runs: Sequence[Run]) -> list[str]:
    """The keys that some command set and that have several values among the runs, in order."""
    keys = dict.fromkeys(key for run in runs for key in run.keys)
    return [key for key in keys if len({str(run.setting(key)) for run in runs}) > 1]


LIBRARIES = (
    "deepfake",
    "torch",
    "pytorch-lightning",
    "torchvision",
    "timm",
    "facenet-pytorch",
    "decord",
    "av",
    "albumentations",
    "numpy",
)


def environment() -> dict[str, str]:
    """Command, commit, machine and versions of libraries, by name."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": str(os.cpu_count()),
        "GPU": ", ".join(dict.fromkeys(gpus)) or "none",
        "python": platform.python_version(),
        **{name: package_version(name) for name in LIBRARIES},
    }


def commit() -> str:
    """The commit of this package's checkout, with a mark if files differ from it; "unknown" without git."""
    try:
        head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head[:12] + (" with changes" if changed else "")


def _git(*arguments: str) -> str:
    """The output of a git command on this package's checkout."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
