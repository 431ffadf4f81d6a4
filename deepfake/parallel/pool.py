"""A function over many items, in worker processes of this machine; a failure is a result too.

Every worker is a process with a pipe of its own, and a thread here waits for it and watches its time and
memory. Whatever an item does to its process therefore costs that item alone. ProcessPoolExecutor waits for
ever for a worker that is killed while it sends a result, and has no way to report progress.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import pickle
import platform
import re
import resource
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import current_process, forkserver, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import cloudpickle
import psutil
from rich import progress

from deepfake.errors import UserError, error_line

MAX_DEATHS = 2  # of workers by one item
MAX_UNREAD = 16  # results that wait for the caller before workers do
WATCH_S = 0.1
MEMORY_SHARE = 0.95  # of its limit, at which a worker is ended
DYING_S = 5.0  # for a process whose pipe has closed
PRELOADED = ("deepfake.cli", "deepfake.faces.extract", "deepfake.prediction.predictor")
"""What the server imports once, so that its workers need not."""
CGROUP_LIMITS = tuple(Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory/memory.limit_in_bytes"))
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's mallopt

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a function raised for one item, or how its worker ended."""

    error: BaseException

    @property
    def reason(self) -> str:
        """One line for a table."""
        return error_line(self.error)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """An item, and its result or the failure it ended in."""

    item: Item
    result: Result | Failure


class WorkerDied(RuntimeError):
    """A worker process ended while it had an item."""


class TimeLimitReached(WorkerDied):
    """An item took too long, and its worker process was ended."""


class MemoryLimitReached(WorkerDied):
    """An item needed too much memory, and its worker process was ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where a function is mapped over items: in processes of this machine, or on a Dask cluster.

    num_workers: processes on this machine, of one thread each unless there is only one; None is one per core.
    0 works in this process, which nothing then protects from a crash, a hang or a lack of memory.
    address: of a running Dask scheduler, tcp://host:8786, which then decides how many workers there are.
    memory_limit: of a worker on this machine, 2GB or bytes; auto gives each an equal share of the memory. A
    worker at 95% of it is ended. Workers of a cluster have the limit they were started with.
    time_limit_s: for one item on this machine, after which its worker is ended; None is no limit.
    """

    num_workers: int | None = None
    address: str | None = None
    memory_limit: str | float = "auto"
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 0:
            raise UserError(f"parallel.num_workers={self.num_workers}: null (one for each core), 0 or more")
        if self.time_limit_s is not None and self.time_limit_s <= 0:
            raise UserError(f"parallel.time_limit_s={self.time_limit_s}: seconds above 0, or null for none")

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        """Yield every item with function(item) or the Failure it ended in, in the order they finish.

        An item whose worker dies is tried again; if that kills a worker too, it is a Failure, as is an item
        that reaches a limit. Outside this process function, items and results must be picklable, by
        cloudpickle, and workers go on while the caller handles an outcome.
        Closing the generator ends local workers; those of a cluster finish the item they are at.
        Raises UserError if the cluster cannot be reached, vanishes, or has other versions than this process.
        """
        if self.address is not None and items:
            from deepfake.parallel.cluster import map_on_cluster

            return map_on_cluster(self.address, function, items)
        if self.num_workers == 0 or not items:
            return (Outcome(item, call(function, item)) for item in items)
        return self._map_in_processes(function, items)

    def _map_in_processes(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """All workers have ended after the last outcome, or when this generator is closed."""
        num_workers = min(self.num_workers or num_cores(), len(items))
        workers = [
            WorkerProcess(
                lambda: function,
                num_threads=num_cores() if num_workers == 1 else 1,
                memory_limit=size_in_bytes(self.memory_limit, num_workers),
                time_limit_s=self.time_limit_s,
            )
            for _ in range(num_workers)
        ]
        waiting = deque(enumerate(items))
        results: Queue[Outcome[Any, Any] | Exception] = Queue(MAX_UNREAD)

        def work(worker: WorkerProcess) -> None:
            try:
                while waiting:
                    with suppress(IndexError):  # another thread was faster
                        index, item = waiting.popleft()
                        start_s = time.monotonic()
                        outcome = Outcome(item, run_twice(worker, item))
                        log.debug("item %d took %.2f s", index, time.monotonic() - start_s)
                        results.put(outcome)
                        del outcome  # else its result would stay in memory during the next item
            except Exception as err:  # which ends the whole map
                results.put(err)
            finally:
                worker.close()

        threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
        try:
            for thread in threads:
                thread.start()
            for _ in items:
                outcome = results.get()
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
                del outcome
        finally:
            waiting.clear()
            for worker in workers:
                worker.stop()
            while any(thread.is_alive() for thread in threads):
                with suppress(Empty):  # makes room for a thread that has a result
                    results.get(timeout=0.01)


def run_twice(worker: WorkerProcess, item: Any) -> Any:
    """The result or Failure of an item, which is tried again if its process died of itself."""
    for _ in range(MAX_DEATHS):
        try:
            return worker.run(item)
        except (TimeLimitReached, MemoryLimitReached) as err:
            return Failure(err)
        except WorkerDied as err:
            died = err
    return Failure(WorkerDied(f"twice its worker process {died}"))


class WorkerProcess:
    """A process that does one item at a time; it is started when it is needed, and anew after it died.

    make: called in the process, once; returns the function that is called with every item.
    num_threads: of libraries in the process; None leaves them as they are. memory_limit: bytes of resident
    memory. time_limit_s: for an item. scratch: a folder that the process removes if this process dies.
    keys: how the names of these settings begin, for messages.
    One thread calls run() and close(); any may call interrupt() and stop().
    """

    def __init__(
        self,
        make: Callable[[], Callable[[Any], Any]],
        *,
        memory_limit: int,
        num_threads: int | None = None,
        time_limit_s: float | None = None,
        scratch: Path | None = None,
        keys: str = "parallel.",
    ) -> None:
        self.memory_limit, self.time_limit_s, self.keys = memory_limit, time_limit_s, keys
        self._given = cloudpickle.dumps(make), num_threads, scratch
        self._lock, self._stopped = threading.Lock(), False
        self._started: tuple[BaseProcess, Connection] | None = None
        _worker_processes.add(self)

    def run(self, item: Any, on_progress: Callable[..., object] | None = None) -> Any:
        """The function's result or its Failure; on_progress gets what the function reports meanwhile.

        Raises WorkerDied if the process ended or was ended. The time that it takes to start does not count.
        """
        data = call(cloudpickle.dumps, item)
        if isinstance(data, Failure):
            return data
        try:
            process, connection = self._start()
            connection.send_bytes(data)
            start_s = time.monotonic()
            while True:
                if connection.poll(WATCH_S):
                    kind, value = connection.recv()
                    if kind == "result":
                        return call(pickle.loads, value)
                    if on_progress is not None:
                        on_progress(*value)
                self._check_limits(process, time.monotonic() - start_s)
        except (EOFError, OSError):
            if self._started is not None:
                wait([self._started[0].sentinel], timeout=DYING_S)  # to learn how it ended
            raise WorkerDied(describe_end(self.close(), self.keys)) from None
        except WorkerDied:
            self.close()
            raise

    def interrupt(self) -> None:
        """End the process, which run() then notices."""
        with self._lock:
            if self._started is not None:
                self._started[0].kill()

    def stop(self) -> None:
        """End the process for good."""
        self._stopped = True
        self.interrupt()

    def close(self) -> int:
        """End the process, if there is one, and wait for that; its exit status, negative for a signal."""
        self.interrupt()
        if self._started is None:
            return 0
        (process, connection), self._started = self._started, None
        wait([process.sentinel])
        with _children:
            process.join()
        connection.close()
        return process.exitcode or 0

    def _start(self) -> tuple[BaseProcess, Connection]:
        """The process and the pipe to it; a new one unless one is running."""
        if self._started is not None:
            if not wait([self._started[0].sentinel], timeout=0):
                return self._started
            self.close()  # it died while it had nothing to do, which is not this item's fault
        start_server()
        context = get_context("forkserver")
        ours, theirs = context.Pipe()
        with self._lock, _children:
            if self._stopped:
                raise WorkerDied("was stopped")
            process = context.Process(target=serve, args=(theirs, *self._given), daemon=True)
            process.start()
            self._started = process, ours
        theirs.close()  # so that the death of the process is noticed
        ours.recv()  # it is ready
        return self._started

    def _check_limits(self, process: BaseProcess, seconds: float) -> None:
        if self.time_limit_s is not None and seconds > self.time_limit_s:
            raise TimeLimitReached(
                f"it took longer than {self.time_limit_s:g} s and was ended; "
                f"{self.keys}time_limit_s allows more"
            )
        with suppress(psutil.Error):  # it is gone, which the pipe will tell
            if psutil.Process(process.pid).memory_info().rss > MEMORY_SHARE * self.memory_limit:
                raise MemoryLimitReached(
                    f"it needed more than {self.memory_limit / 1e9:.1f} GB of memory and was ended; "
                    f"{self.keys}memory_limit, or fewer {self.keys}num_workers, allow more"
                )


_worker_processes: WeakSet[WorkerProcess] = WeakSet()
_children = threading.Lock()  # multiprocessing's list of them is not made for threads


@atexit.register
def _stop_workers() -> None:
    """End workers of generators that nobody closed, for which multiprocessing would wait."""
    for worker in list(_worker_processes):
        worker.stop()


def start_server() -> None:
    """Start the server that workers are forked from, unless it runs; it imports PRELOADED from here on.

    It and its workers see neither Ctrl-C nor another signal to end, even one to their whole process group: to
    end them is this process's task.
    """
    with _children:
        get_context("forkserver").set_forkserver_preload(list(PRELOADED))
        resource_tracker.ensure_running()  # which unblocks signals when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_server() -> None:
    """Stop the server, which holds almost a GB, until workers are needed again; none may be running."""
    with _children:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


def describe_end(status: int, keys: str) -> str:
    """How a process ended, for a table."""
    if status == -signal.SIGKILL:
        return f"was killed (SIGKILL, as the system does when memory is short: fewer {keys}num_workers)"
    if status < 0:
        return f"crashed ({signal.Signals(-status).name}), as broken or hostile files make a decoder do"
    return f"ended with status {status}"


_to_parent: list[Connection] = []
"""In a worker process, its end of the pipe."""


def serve(connection: Connection, make: bytes, num_threads: int | None, scratch: Path | None) -> None:
    """What a worker process does: item after item, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watcher = threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True)
    watcher.start()
    current_process().daemon = False  # an item may start processes
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashing decoders would write gigabytes
    keep_freed_memory()
    _to_parent.append(connection)
    function = call(call_unpickled, lambda made: made(), make)
    with suppress(EOFError, OSError):
        connection.send(("ready", None))
        while True:
            data = connection.recv_bytes()
            if num_threads is not None:
                set_threads(num_threads)  # of libraries that the last item imported too
            result = function if isinstance(function, Failure) else call(call_unpickled, function, data)
            connection.send(("result", pack_result(result)))
            del result
    watcher.join()  # if this thread returned, the process would end before scratch is removed


def report_progress(*values: Any) -> None:
    """In a worker process, send values to the on_progress of its run(); elsewhere this does nothing."""
    for connection in _to_parent:
        connection.send(("progress", values))


def _end_with_parent(scratch: Path | None) -> None:
    """End this process as soon as its parent has ended, whatever it is doing."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    for _ in range(9):  # the item's own thread may still write there
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


def call(function: Callable[..., Any], *given: Any) -> Any:
    """What a function returns, or the Failure it ends in."""
    try:
        return function(*given)
    except Exception as err:
        return Failure(err)


def call_unpickled(function: Callable[[Any], Any], data: bytes) -> Any:
    """function of what was pickled."""
    return function(pickle.loads(data))


def pack_result(result: Any) -> bytes:
    """A result or Failure, pickled; a Failure that says why where that is impossible."""
    try:
        data = bytes(cloudpickle.dumps(result))
        if isinstance(result, Failure):
            pickle.loads(data)  # which many exceptions with arguments of their own do not survive
    except Exception as err:
        why = RuntimeError(result.reason) if isinstance(result, Failure) else err
        data = bytes(cloudpickle.dumps(Failure(why)))
    return data


def set_threads(num_threads: int) -> None:
    """Let the libraries that have been imported use so many threads."""
    for module, function in ("cv2", "setNumThreads"), ("torch", "set_num_threads"):
        if module in sys.modules:
            getattr(sys.modules[module], function)(num_threads)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for reuse; without glibc this does nothing.

    It otherwise returns every big array to the system and faults it in anew: face detection took twice as
    long in a Dask worker, which asks glibc to trim eagerly, and Meso-4 at batch 32 trained half as fast.
    """
    call_glibc("mallopt", M_MMAP_MAX, 0)
    call_glibc("mallopt", M_TRIM_THRESHOLD, 2**31 - 1)


def trim_freed_memory() -> None:
    """Return what keep_freed_memory keeps to the system, once: a process forked next would hold it too."""
    call_glibc("malloc_trim", 0)


def return_freed_memory() -> None:
    """Tell glibc to return every freed block of 2 MiB or more to the system; without glibc this does nothing.

    Where blocks have many sizes, the ones that glibc keeps do not fit the next ones: they took half a GB more
    in the training of efficientnet_lstm, and saved no time.
    """
    call_glibc("mallopt", M_MMAP_THRESHOLD, 2**21)


def call_glibc(name: str, *values: int) -> None:
    """Call a function of the C library if that is glibc."""
    if platform.libc_ver()[0] == "glibc":
        getattr(ctypes.CDLL(None), name)(*values)


def size_in_bytes(size: str | float, num_workers: int = 1, *, key: str = "parallel.memory_limit") -> int:
    """Bytes of a size such as 4GB or 512MiB; auto is an equal share of the memory for each worker.

    Raises UserError, with the key, for what is no size.
    """
    if size == "auto":
        memory = [psutil.virtual_memory().total]
        for path in CGROUP_LIMITS:  # of the container that this process is in
            with suppress(OSError, ValueError):  # there is none, or it is "max"
                memory.append(int(path.read_text()))
        return min(memory) // num_workers
    found = re.fullmatch(r"(\d*\.?\d+(?:e\d+)?) *([kmgt]?)(i?)b?", str(size).strip().lower())
    if found is None:
        raise UserError(f"{key}={size}: not a size; auto or, say, 4GB")
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(*more: progress.ProgressColumn) -> progress.Progress:
    """The progress bar of this project; more columns follow the usual ones."""
    usual = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    return progress.Progress(progress.TextColumn("{task.description}"), *usual, *more)
