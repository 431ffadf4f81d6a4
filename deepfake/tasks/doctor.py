"""What a bug report needs: versions, machine, codecs, extras, and whether the whole way works here."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

import deepfake
from deepfake.config import to_plain
from deepfake.doctor import machine
from deepfake.doctor.codecs import OK, try_codecs
from deepfake.doctor.private import hidden
from deepfake.doctor.requirements import extras, libraries
from deepfake.doctor.sheet import gigabytes, print_end, print_facts, stage_line
from deepfake.errors import SomeFailed, UserError
from deepfake.io import short_path
from deepfake.reports.html import TextConsole
from deepfake.reports.runs import commit
from deepfake.tasks.selftest import stages

log = logging.getLogger(__name__)

TEXT, JSON, LOG = "doctor.txt", "doctor.json", "selftest.log"
TEXT_CHARS = 100  # width of doctor.txt
LEAST_DISK_BYTES, LEAST_SHARED_BYTES, LEAST_OPEN_FILES = 5e9, 256e6, 1024


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Print the report and write doctor.txt and doctor.json; raises SomeFailed if a stage failed."""
    selftest = to_plain(cfg)["selftest"]
    if not isinstance(selftest, bool):
        raise UserError(f"selftest={selftest}: true or false")
    console = TextConsole(file=sys.stdout)
    with console.status("looking around", spinner="line"), TemporaryDirectory(prefix="deepfake_") as folder:
        report = hidden(examine(run_dir, Path(folder)))
    report["notes"] = notes(report)
    print_facts(console, report)
    write(run_dir, report)
    if selftest:
        test(console, run_dir, report)
    print_end(console, report)
    log.info("\nwritten to %s: %s, %s", hidden(short_path(run_dir)), TEXT, JSON)
    failed = [stage["stage"] for stage in report["selftest"] if stage["status"] == "failed"]
    if failed:
        raise SomeFailed(f"self-test: {failed[0]} failed; {short_path(run_dir / LOG)} tells all")


def examine(run_dir: Path, folder: Path) -> dict[str, Any]:
    """All facts but the self-test's, as they are; folder: for films."""
    return {
        "about": {
            "deepfake": deepfake.__version__,
            "commit": commit(),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
            "ffmpeg": av.ffmpeg_version_info,
        },
        "libraries": [asdict(library) for library in libraries()],
        "processor": machine.processor(),
        "accelerators": machine.accelerators(),
        "disks": machine.disks(run_dir),
        "limits": machine.limits(),
        "codecs": try_codecs(folder),
        "extras": [asdict(extra) | {"mend": extra.mend} for extra in extras()],
        "wandb": wandb_mode(),
        "selftest": [],
        "notes": [],
    }


def test(console: Console, run_dir: Path, report: dict[str, Any]) -> None:
    """Run the self-test: a line a stage, in the report too, which is written before each of them."""
    said = StringIO()
    console.print(Text("\nSelf-test", "bold cyan"))
    ended: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="deepfake_") as folder, console.status("", spinner="line") as status:
        for stage in stages(Path(folder), said):
            told = hidden(asdict(stage))
            if stage.status == "running":
                status.update(stage.stage)
            else:
                ended.append(told)
                console.print(stage_line(told))
            report["selftest"] = ended if stage.status != "running" else [*ended, told]
            # a library's crash ends this process too, and then tells in which stage
            write(run_dir, report)
    (run_dir / LOG).write_text(hidden(said.getvalue()), encoding="utf-8")


def write(run_dir: Path, report: Mapping[str, Any]) -> None:
    """doctor.json, and doctor.txt as the terminal shows it, without colours."""
    (run_dir / JSON).write_text(json.dumps(report, indent=2) + "\n")
    text = StringIO()
    paper = TextConsole(file=text, width=TEXT_CHARS, color_system=None, force_terminal=False)
    print_facts(paper, report)
    if report["selftest"]:
        paper.print("\nSelf-test")
        for stage in report["selftest"]:
            paper.print(stage_line(stage))
    print_end(paper, report)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    (run_dir / TEXT).write_text("\n".join(lines) + "\n", encoding="utf-8")


def notes(report: Mapping[str, Any]) -> list[str]:
    """What is likely to make trouble, each with its mend."""
    found = [f"{one['name']} {one['wrong']}: uv sync" for one in report["libraries"] if one["wrong"]]
    if not report["libraries"]:
        found.append("this project is not installed, its requirements cannot be checked: uv sync")
    found += [
        f"{name} cannot be read: {answers['deepfake']}"
        for name, answers in report["codecs"].items()
        if answers["encode"] == OK and answers["deepfake"] != OK
    ]
    for name, disk in report["disks"].items():
        shared = name == "shared memory"
        if disk["free_bytes"] < (LEAST_SHARED_BYTES if shared else LEAST_DISK_BYTES):
            mend = "docker run --shm-size=2g, or data.num_workers=0" if shared else "make room"
            found.append(f"{name}: {gigabytes(disk['free_bytes'])} free; {mend}")
    files = report["limits"].get("open_files")
    if files is not None and files < LEAST_OPEN_FILES:
        found.append(f"only {files} files can be open at a time: ulimit -n 4096")
    if not report["accelerators"]["gpus"] and report["accelerators"]["torch_cuda"] and has_nvidia():
        found.append("an NVIDIA driver, but no GPU for torch: compare its CUDA version with nvidia-smi's")
    return found


def has_nvidia() -> bool:
    """Whether a driver of NVIDIA runs here."""
    return Path("/proc/driver/nvidia/version").is_file()


def wandb_mode() -> str:
    """Whether runs would go to Weights & Biases, and as somebody; nothing is sent and no name is told."""
    mode = os.environ.get("WANDB_MODE", "")
    if mode not in ("", "online", "run", "shared"):
        return f"{mode}, by WANDB_MODE"
    try:
        import wandb

        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            settings = wandb.setup().settings
            known = settings.mode == "offline" or bool(wandb.login(prompt=False, verify=False))
            told = settings.mode
            wandb.teardown()
    except Exception as err:
        return " ".join(f"{type(err).__name__}: {err}".split())
    if told == "offline":
        return told
    return f"{told}, {'logged in' if known else 'nobody is logged in'}"
