"""A function over many items, on a Dask cluster whose settings are neither needed nor changed."""

from __future__ import annotations

import logging
import pickle
import platform
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from queue import Empty, SimpleQueue
from typing import Any

import cloudpickle

from deepfake.errors import UserError
from deepfake.parallel.pool import (
    MAX_UNREAD,
    Failure,
    Outcome,
    WorkerDied,
    call,
    call_unpickled,
    keep_freed_memory,
    pack_result,
    set_threads,
)

START_WORKERS = "dask worker {} --nthreads 1 --nworkers N"
CONNECT_S = 10
PATIENCE_S = 5  # without any worker, before that is logged
SAME_VERSIONS = (
    *("deepfake", "distributed"),  # both ends of the wire
    *("numpy", "torch", "facenet-pytorch", "opencv-python-headless", "av", "decord"),  # a crop's pixels
)
Versions = tuple[tuple[str, str], ...]

log = logging.getLogger(__name__)


def map_on_cluster(
    address: str, function: Callable[[Any], Any], items: Sequence[Any]
) -> Iterator[Outcome[Any, Any]]:
    """See Executor.map_unordered.

    Dask tries the items of a dead worker again, and gives up those that lost several workers. An item that
    only waited where another one killed its worker is among them, so each is tried once more, alone.
    """
    with connected(address) as client:
        run = ClusterRun(client, address, function)
        suspects: list[Any] = []
        for outcome in run.outcomes(items):
            if isinstance(outcome.result, Failure) and isinstance(outcome.result.error, WorkerDied):
                suspects.append(outcome.item)
            else:
                yield outcome
        yield from run.outcomes(suspects, alone=True)


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A Dask client of a running scheduler; raises UserError."""
    import dask

    dask.config.set({"logging.distributed": "critical"})  # read by the next line
    from distributed import Client  # brings settings of its own, which must outlast those below

    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", module="distributed")  # versions that matter are compared below
        try:
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, ImportError) as err:
            raise UserError(
                f"parallel.address={address}: no Dask scheduler answers ({err}); start one with "
                f"`dask scheduler` and workers with `{START_WORKERS.format(address)}`"
            ) from err
        with client:
            yield client


class ClusterRun:
    """Tasks of one function on the cluster of a client."""

    def __init__(self, client: Any, address: str, function: Callable[[Any], Any]) -> None:
        self.client, self.address, self.function = client, address, cloudpickle.dumps(function)
        self.start_workers = START_WORKERS.format(address)
        self.done: SimpleQueue[Any] = SimpleQueue()

    def outcomes(self, items: Sequence[Any], *, alone: bool = False) -> Iterator[Outcome[Any, Any]]:
        """As workers finish; alone: one item at a time on the whole cluster, else enough for every worker."""
        waiting = deque(items)
        running: dict[str, tuple[Any, Any]] = {}  # by the task's key, an item and its future
        warned = False
        try:
            while waiting or running:
                limit = 1 if alone else self.num_workers() + MAX_UNREAD
                while waiting and len(running) < limit:
                    future = self.submit(waiting[0])
                    running[future.key] = waiting.popleft(), future
                try:
                    future = self.done.get(timeout=PATIENCE_S)
                except Empty:
                    if not (warned or self.num_workers()):
                        log.warning("waiting for workers: `%s` starts some", self.start_workers)
                        warned = True
                    continue
                yield Outcome(running.pop(future.key)[0], self.result(future))
        finally:
            with suppress(OSError, CancelledError):  # the scheduler may be lost
                self.client.cancel([future for _, future in running.values()])

    def num_workers(self) -> int:
        """Workers that are there now; raises UserError if the scheduler is lost."""
        try:
            return len(self.client.nthreads())
        except (OSError, CancelledError) as err:
            raise self.lost() from err

    def submit(self, item: Any) -> Any:
        """The future of function(item), which puts itself into done."""
        try:
            task = cloudpickle.dumps(Deferred(run_task, (self.function, cloudpickle.dumps(item), versions())))
        except Exception as err:
            task = pickle.dumps(pack_result(Failure(err)))
        # pickle.loads fails on a worker that cannot import this module; our own function, which Dask
        # unpickles elsewhere, would end that worker
        future = self.client.submit(pickle.loads, task, pure=False)
        future.add_done_callback(self.done.put)
        return future

    def result(self, future: Any) -> Any:
        """A task's result or Failure; raises UserError for an unfit worker or a lost scheduler."""
        from distributed.scheduler import KilledWorker

        try:
            return call(pickle.loads, future.result())
        except KilledWorker as err:
            return Failure(
                WorkerDied(f"its workers died (crash or out of memory), {err.last_worker.address} last")
            )
        except (OSError, CancelledError) as err:
            raise self.lost() from err
        except (ImportError, AttributeError, UserError) as err:
            check = cloudpickle.dumps(Deferred(prepare_process, (versions(),)))
            found = self.client.run(pickle.loads, check, on_error="return")
            unfit = next((worker for worker, answer in found.items() if isinstance(answer, Exception)), "")
            raise UserError(
                f"worker {unfit} differs from this process ({err}): start it in the same "
                f"environment, `uv sync --frozen`, then `{self.start_workers}`"
            ) from err

    def lost(self) -> UserError:
        """Why nothing goes on without the scheduler."""
        return UserError(
            f"lost the Dask scheduler at {self.address}: start it and its workers, then run this again"
        )


@dataclass(frozen=True, slots=True)
class Deferred:
    """Becomes function(*given) where it is unpickled."""

    function: Callable[..., Any]
    given: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.given


def run_task(function: bytes, item: bytes, wanted: Versions) -> bytes:
    """What a worker does: function(item) or its Failure, pickled. Raises only if the worker is unfit."""
    prepare_process(wanted)
    loaded = pickle.loads(function)
    with _one_at_a_time:
        set_threads(1)
        return pack_result(call(call_unpickled, loaded, item))


_one_at_a_time = threading.Lock()  # in a worker that was started with several threads


@cache
def prepare_process(wanted: Versions) -> None:
    """Check a worker process against the versions it must have, and prepare it for work in big arrays."""
    from distributed import get_worker

    own = dict(versions())
    if other := [
        f"{name} {own.get(name)}, not {version}" for name, version in wanted if own.get(name) != version
    ]:
        raise UserError("it has " + ", ".join(other))
    memory = get_worker().memory_manager
    # a worker that pauses for lack of memory may never wake, and we would wait for it
    memory.memory_pause_fraction = memory.memory_spill_fraction = False
    keep_freed_memory()


@cache
def versions() -> Versions:
    """Of Python and of SAME_VERSIONS, in this process."""
    found = [("python", ".".join(platform.python_version_tuple()[:2]))]
    for name in SAME_VERSIONS:
        with suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name).partition("+")[0]))  # with or without +cu130
    return tuple(found)
