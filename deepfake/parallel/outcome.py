"""What became of an item that a function was mapped over, and how its progress is shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a function raised for one item, or that its worker died."""

    error: BaseException

    @property
    def reason(self) -> str:
        """One line for a table."""
        return f"{type(self.error).__name__}: {self.error}".splitlines()[0]


class WorkerDied(RuntimeError):
    """An item ended its worker process every time it was tried."""


class TimeLimitReached(WorkerDied):
    """An item took too long, and its worker process was ended."""


class MemoryLimitReached(WorkerDied):
    """An item needed too much memory, and its worker process was ended."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """An item and what became of it."""

    item: Item
    result: Result | Failure


def too_slow(limit_s: float | None) -> str:
    """Why an item that took longer was ended."""
    return f"it took longer than {limit_s:g} s and was ended; parallel.time_limit_s allows more"


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(*more: ProgressColumn) -> Progress:
    """The one look of progress in this project; more columns follow the usual ones."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), *more
    )
