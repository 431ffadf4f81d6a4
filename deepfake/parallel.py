"""Map a function over items on all cores: results come as they are ready, a failure is a result too."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """An item and what became of it."""

    item: Item
    result: Result | Failure


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar() -> Progress:
    """The one look of progress in this project."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


def map_unordered(
    function: Callable[[Item], Result], items: Sequence[Item], *, num_workers: int | None = None
) -> Iterator[Outcome[Item, Result]]:
    """Yield every item with function(item) or the Failure it ended in, in the order they finish.

    num_workers: processes of one thread each; None takes all cores, 1 works in this process. An item whose
    worker dies is tried again elsewhere, three times. Both function and items must be picklable.
    """
    workers = min(num_workers or num_cores(), len(items))
    return _map_here(function, items) if workers <= 1 else _map_dask(function, items, workers)


def _map_here(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
    for item in items:
        try:
            result: Result | Failure = function(item)
        except Exception as err:
            result = Failure(err)
        yield Outcome(item, result)


def _map_dask(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Outcome[Item, Result]]:
    import dask

    dask.config.set({"logging.distributed": "error"})  # read when distributed is imported
    from distributed import Client, LocalCluster, as_completed

    settings: dict[str, Any] = {
        # Dask's own choice, to hand every freed block back at once, doubles the time of face detection
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**31 - 1,
        "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_MAX_": 0,
        "distributed.worker.memory.spill": False,
        "distributed.worker.daemon": False,
        "distributed.admin.large-graph-warning-threshold": "1GB",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR
        ) as cluster,
        Client(cluster) as client,
    ):
        futures = {client.submit(function, item, pure=False): item for item in items}
        for future in as_completed(futures):
            error = future.exception()
            yield Outcome(futures.pop(future), future.result() if error is None else Failure(error))
