"""The most memory that a worker holds while it extracts a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfake.errors import UserError
from deepfake.faces.jobs import Extraction, run_job
from deepfake.parallel import Executor, Failure

STATUS = Path("/proc/self/status")


def check_memory_is_told() -> None:
    """Raise UserError on a system without Linux's /proc."""
    if not STATUS.exists():
        raise UserError("memory=true: peak memory is read from Linux's /proc; use memory=false")


def peak_memories_mb(jobs: Sequence[Extraction]) -> list[float]:
    """Peak resident memory, in 10^6 bytes, of a fresh worker for each of two or more jobs: imports and all.

    All work at the same time, since a worker is given a second job only when none is idle.
    """
    peaks = {}
    for outcome in Executor(num_workers=len(jobs)).map_unordered(run_and_tell, jobs):
        if isinstance(outcome.result, Failure):
            raise outcome.result.error
        peaks[outcome.item.video.key] = outcome.result
    return [peaks[job.video.key] for job in jobs]


def run_and_tell(job: Extraction) -> float:
    """Do a job in a process that does nothing else."""
    run_job(job)
    return peak_memory_mb()


def peak_memory_mb() -> float:
    """The most memory that this process has held, in 10^6 bytes."""
    # not ru_maxrss, which a process inherits from the one that started it
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
