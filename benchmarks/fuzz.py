"""Target fuzz: hostile files through prediction or extraction, which must give one row per file."""

from __future__ import annotations

import csv
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.table import Table

from benchmarks.bench import Bench, BenchmarkResult
from benchmarks.films import find_videos
from benchmarks.hostile_files import copy_films, kind_of, make_files, render_films
from deepfake.config import build
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.io import short_path
from deepfake.reports.html import TextConsole
from deepfake.training.checkpoint import KEY, WEIGHTS, Checkpoint

log = logging.getLogger(__name__)

LOOK_S = 0.2
TOOK = re.compile(r"item \d+ took ([\d.]+) s")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A command that ran: status is None if it was killed at its deadline.

    peak_mb: resident memory of all its processes together, shared pages counted in each; largest_mb: of one.
    """

    status: int | None
    seconds: float
    peak_mb: float
    largest_mb: float


def run_watched(command: Sequence[str], output: Path, *, deadline_s: float) -> CommandResult:
    """Run a command to its end, with what it prints in a file, or kill it and all that it started."""
    start, peak, largest = time.monotonic(), 0.0, 0.0
    with output.open("wb") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while (status := process.poll()) is None and time.monotonic() - start < deadline_s:
            sizes = memories_mb(process.pid)
            peak, largest = max(peak, sum(sizes)), max([largest, *sizes])
            time.sleep(LOOK_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return CommandResult(status, time.monotonic() - start, peak, largest)


def memories_mb(pid: int) -> list[float]:
    """Resident memory of a process and of each that it started, in 10^6 bytes."""
    sizes = []
    with suppress(psutil.Error):
        for process in (top := psutil.Process(pid)), *top.children(recursive=True):
            with suppress(psutil.Error):
                sizes.append(process.memory_info().rss / 1e6)
    return sizes


def longest_s(log: Path) -> float:
    """The longest that an item took, by a run's log with the lines of deepfake.parallel.pool."""
    return max((float(found[1]) for found in TOOK.finditer(log.read_text(errors="replace"))), default=0.0)


def predicted_reasons(run_dir: Path) -> dict[str, list[str]]:
    """The reasons in predictions.csv by file: one each, empty for a file that was scored."""
    reasons: dict[str, list[str]] = {}
    with (run_dir / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            reasons.setdefault(row["file"], []).append(row["reason"] if row["status"] == "error" else "")
    return reasons


def extracted_reasons(store: Path) -> dict[str, list[str]]:
    """The same of a face store's manifest."""
    import pyarrow.parquet as pq

    reasons: dict[str, list[str]] = {}
    for row in pq.read_table(store / "manifest.parquet").to_pylist():
        lost = row["reason"] if not row["sampled_frames"] else ""
        reasons.setdefault(row["path"], []).append(lost)
    return reasons


def outcome_of(reason: str) -> str:
    """A few words for a reason: read, refused, limit, too slow, too large, crashed."""
    if not reason:
        return "read"
    for word, said in {
        "TimeLimitReached": "too slow",
        "MemoryLimitReached": "too large",
        "WorkerDied": "crashed",
        "LimitReached": "beyond limits",
    }.items():
        if word in reason:
            return said
    return "refused"


def tally(files: Sequence[Path], reasons: dict[str, list[str]]) -> dict[str, Counter[str]]:
    """Outcomes by kind of file."""
    counts: dict[str, Counter[str]] = {}
    for path in files:
        for reason in reasons.get(str(path), ["no row"]):
            outcome = "no row" if reason == "no row" else outcome_of(reason)
            counts.setdefault(kind_of(path), Counter())[outcome] += 1
    return counts


def files_without_one_row(files: Sequence[Path], reasons: dict[str, list[str]]) -> list[str]:
    """Files without a row, or with more than one, and rows of no file."""
    names = {str(path) for path in files}
    wrong = [name for name in names if len(reasons.get(name, [])) != 1]
    return sorted(wrong + [name for name in reasons if name not in names])


SCRIPTS = Path(__file__).parents[1] / "scripts"
SPARE_S = 15  # a busy machine notices late that an item has ended, and starts a new process
TASKS = ("predict", "extract")


def measure(
    bench: Bench,
    *,
    task: str,
    checkpoint: str | None,
    net: Mapping[str, Any],
    input: str | Sequence[str] | None,
    files: int,
    seed: int,
    deadline_s: float,
    parallel: Mapping[str, Any],
) -> BenchmarkResult:
    """The figures fuzz/…, and outcomes by kind of file as details; the files stay in the run folder.

    task: predict or extract. checkpoint: for prediction; None makes one of net, untrained. input: a user's
    films, which are broken too. deadline_s: of the whole command. parallel: values of conf/parallel, with the
    limits of each file. Raises UserError for a wrong task or number of files.
    """
    if task not in TASKS:
        raise UserError(f"fuzz={task}: must be one of {', '.join(TASKS)}")
    if not isinstance(files, int) or files < 1:
        raise UserError(f"files={files}: must be at least 1")
    run_dir = bench.run_dir.absolute()
    sources = render_films(run_dir / "films") + copy_films(find_videos(input), run_dir / "copies")
    made = make_files(sources, run_dir / "files", count=files, seed=seed, odd=task == "predict")
    log.info("%d hostile files in %s, made of %d films", files, short_path(run_dir / "files"), len(sources))
    out = run_dir / task
    if task == "predict":
        checkpoint = checkpoint or str(untrained_checkpoint(run_dir / "untrained.ckpt", net, bench.settings))
        own = [f"checkpoint={checkpoint}", f"input={run_dir / 'files'}", "pages=false"]
    else:
        own = ["data=folder", f"data.root={run_dir / 'files'}", f"data.store={out / 'store'}"]
    result = run_watched(
        [*command(task, own, parallel), f"hydra.run.dir='{out}'"],
        run_dir / "output.txt",
        deadline_s=deadline_s,
    )
    reasons: dict[str, list[str]] = {}
    if result.status in (0, 1):
        reasons = predicted_reasons(out) if task == "predict" else extracted_reasons(out / "store")
    longest = longest_s(out / f"{task}.log") if result.status is not None else 0.0
    problems = find_problems(
        result,
        longest,
        files_without_one_row(made, reasons),
        deadline_s=deadline_s,
        limit_s=parallel["time_limit_s"],
    )
    counts = tally(made, reasons)
    TextConsole().print(outcome_table(counts))
    figures = {
        "fuzz/files": files,
        "fuzz/seconds": result.seconds,
        "fuzz/files_per_s": files / result.seconds,
        "fuzz/longest_file_s": longest,
        "fuzz/peak_memory_mb": result.peak_mb,
        "fuzz/peak_memory_one_process_mb": result.largest_mb,
        "fuzz/problems": len(problems),
    }
    details = {
        "task": task,
        "seed": seed,
        "status": result.status,
        "outcomes": dict(sum(counts.values(), Counter())),
        "outcomes_by_kind": {kind: dict(found) for kind, found in counts.items()},
        "problems": problems,
    }
    return BenchmarkResult(figures, details, failure="; ".join(problems))


def untrained_checkpoint(path: Path, net: Mapping[str, Any], settings: FaceSettings) -> Path:
    """Write a checkpoint of an untrained detector, whose scores mean nothing."""
    checkpoint = Checkpoint(net=dict(net), faces=settings)
    weights = {WEIGHTS + name: value for name, value in build(net).state_dict().items()}
    torch.save({KEY: checkpoint.to_dict(), "state_dict": weights}, path)
    return path


def command(task: str, own: Sequence[str], parallel: Mapping[str, Any]) -> list[str]:
    """A script's command line with its own overrides and those of conf/parallel, as a user would type it."""
    given = [f"parallel.{name}={'null' if value is None else value}" for name, value in parallel.items()]
    script = str(SCRIPTS / f"{task}.py")
    return [sys.executable, script, *own, *given, "hydra.verbose=deepfake.parallel.pool"]


def find_problems(
    result: CommandResult, longest: float, wrong: Sequence[str], *, deadline_s: float, limit_s: float | None
) -> list[str]:
    """What must not happen and did. wrong: files without exactly one row. limit_s: of one file."""
    problems = []
    if result.status is None:
        problems.append(f"the run did not end within {deadline_s:g} s (deadline_s)")
    elif result.status not in (0, 1):
        problems.append(f"the run ended with status {result.status}")
    if limit_s is not None and longest > limit_s + SPARE_S:
        problems.append(f"a file took {longest:.1f} s, its limit was {limit_s:g} s")
    if wrong:
        problems.append(f"{len(wrong)} files do not have exactly one row, {Path(wrong[0]).name} for example")
    return problems


def outcome_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """How many files of each kind had which outcome."""
    outcomes = list(dict.fromkeys(outcome for found in counts.values() for outcome in found))
    table = Table("kind", *outcomes, title="hostile files", title_justify="left")
    for kind, found in counts.items():
        table.add_row(kind, *(str(found.get(outcome, "")) for outcome in outcomes))
    return table
