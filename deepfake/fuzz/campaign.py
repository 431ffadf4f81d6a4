"""Hostile files made from whole ones, a command that is run on them, and what it said of each."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from deepfake.fuzz.mutations import MUTATIONS, ODDITIES

LOOK_S = 0.2
TOOK = re.compile(r"item \d+ took ([\d.]+) s")
KINDS = (*MUTATIONS, *ODDITIES)


def make_files(sources: Sequence[Path], folder: Path, *, count: int, seed: int, odd: bool) -> list[Path]:
    """So many files NNNNN_kind.suffix, of each kind alike many, in folder/real and folder/fake.

    odd: also things that are no regular file. The same arguments make the same bytes.
    """
    kinds = KINDS if odd else tuple(MUTATIONS)
    contents = [(path.suffix, path.read_bytes()) for path in sources]
    for name in ("real", "fake"):
        (folder / name).mkdir(parents=True)
    made = []
    for index in range(count):
        rng, kind = np.random.default_rng([seed, index]), kinds[index % len(kinds)]
        suffix, data = contents[int(rng.integers(len(contents)))]
        path = folder / ("real", "fake")[index // len(kinds) % 2] / f"{index:05}_{kind}{suffix}"
        if kind in ODDITIES:
            ODDITIES[kind](path)
        else:
            path.write_bytes(MUTATIONS[kind](rng, data))
        made.append(path)
    return made


def kind_of(path: Path) -> str:
    """How a file was made."""
    return path.stem.partition("_")[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ran: status is None if it was killed at its deadline.

    peak_mb: resident memory of all its processes together, shared pages counted in each; largest_mb: of one.
    """

    status: int | None
    seconds: float
    peak_mb: float
    largest_mb: float


def run_watched(command: Sequence[str], output: Path, *, deadline_s: float) -> Ended:
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
    return Ended(status, time.monotonic() - start, peak, largest)


def memories_mb(pid: int) -> list[float]:
    """Resident memory of a process and of each that it started, in 10^6 bytes."""
    sizes = []
    with suppress(psutil.Error):
        for process in (top := psutil.Process(pid)), *top.children(recursive=True):
            with suppress(psutil.Error):
                sizes.append(process.memory_info().rss / 1e6)
    return sizes


def longest_s(log: Path) -> float:
    """The longest that an item took, by a run's log with the lines of deepfake.parallel.local."""
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


def unaccounted(files: Sequence[Path], reasons: dict[str, list[str]]) -> list[str]:
    """Files without a row, or with more than one, and rows of no file."""
    names = {str(path) for path in files}
    wrong = [name for name in names if len(reasons.get(name, [])) != 1]
    return sorted(wrong + [name for name in reasons if name not in names])
