"""What every benchmark is given, and what it gives back."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, Generic, TypeVar

from deepfake.errors import UserError
from deepfake.faces.extract_corpus import Extraction
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import LIBRARIES
from deepfake.io import package_version
from deepfake.parallel.pool import Executor, Failure
from deepfake.records import REAL, Video
from deepfake.reports.runs import environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """run_dir: for files that stay. folder: for files that are deleted afterwards.

    device: of face detection. settings: of extraction.
    """

    run_dir: Path
    folder: Path
    device: str
    settings: FaceSettings


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """figures: flat, named target/what. details: plain values behind them, for JSON.

    failure: why the command has failed although it measured something; empty when it has not.
    """

    figures: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def as_videos(paths: Sequence[Path], *, prefix: str) -> list[Video]:
    """Files as videos with keys <prefix>/<number>_<stem>, since stems of a dataset may repeat."""
    return [
        Video(
            key=f"{prefix}/{number:03}_{path.stem}", path=path, corpus="benchmark", label=REAL, method="real"
        )
        for number, path in enumerate(paths)
    ]


def machine() -> dict[str, Any]:
    """Where, when and with what a benchmark ran."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        **environment(),
        **{name: package_version(name) for name in LIBRARIES},
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TimedResult(Generic[Result]):
    """What became of one item: result, and when it began and ended on this machine's monotonic clock."""

    result: Result
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it took in its worker."""
        return self.end_s - self.start_s


def timed_turns(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_workers: int,
    warm_up: Callable[[], object],
    extra: Sequence[Item] = (),
) -> list[TimedResult[Result]]:
    """function(item) of every item on num_workers processes, in the order of the items.

    warm_up() runs before each turn, outside its time. extra: items that follow, so that all workers are
    busy until the last counted turn has ended; they are not counted. Raises what the function raised.
    """
    turns: dict[int, TimedResult[Result]] = {}
    job = partial(_timed, function, warm_up)
    for outcome in Executor(num_workers=num_workers).map_unordered(job, list(enumerate([*items, *extra]))):
        if isinstance(outcome.result, Failure):
            raise outcome.result.error
        turns[outcome.item[0]] = outcome.result
    return [turns[place] for place in range(len(items))]


def wall_s(turns: Sequence[TimedResult[Any]]) -> float:
    """From the first beginning to the last end."""
    return max(turn.end_s for turn in turns) - min(turn.start_s for turn in turns)


def medians(pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The median of each name's values."""
    values: dict[str, list[float]] = defaultdict(list)
    for name, value in pairs:
        values[name].append(value)
    return {name: median(own) for name, own in values.items()}


def _timed(
    function: Callable[[Item], Result], warm_up: Callable[[], object], numbered: tuple[int, Item]
) -> TimedResult[Result]:
    _, item = numbered
    warm_up()
    start_s = monotonic()
    result = function(item)
    return TimedResult(result, start_s, monotonic())


STATUS = Path("/proc/self/status")


def check_memory_is_readable() -> None:
    """Raise UserError on a system without Linux's /proc."""
    if not STATUS.exists():
        raise UserError("memory=true: peak memory is read from Linux's /proc; use memory=false")


def peak_memories_mb(jobs: Sequence[Extraction]) -> list[float]:
    """Peak resident memory, in 10^6 bytes, of a fresh worker for each of two or more jobs: imports and all.

    All work at the same time, since a worker is given a second job only when none is idle.
    """
    peaks = {}
    for outcome in Executor(num_workers=len(jobs)).map_unordered(extract_and_measure_memory, jobs):
        if isinstance(outcome.result, Failure):
            raise outcome.result.error
        peaks[outcome.item.video.key] = outcome.result
    return [peaks[job.video.key] for job in jobs]


def extract_and_measure_memory(job: Extraction) -> float:
    """Do a job in a process that does nothing else."""
    job.run()
    return peak_memory_mb()


def peak_memory_mb() -> float:
    """The most memory that this process has held, in 10^6 bytes."""
    # not ru_maxrss, which a process inherits from the one that started it
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
