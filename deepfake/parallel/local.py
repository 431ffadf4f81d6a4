"""Items to worker processes of this machine, and their answers back.

A thread for each process waits for it. (pebble and concurrent.futures share one pipe and its lock among all
workers: one that is ended while it holds the lock would hang the run.)
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil

from deepfake.errors import UserError
from deepfake.parallel import feed
from deepfake.parallel.outcome import (
    Failure,
    MemoryLimitReached,
    Outcome,
    TimeLimitReached,
    WorkerDied,
    num_cores,
)
from deepfake.parallel.process import WorkerProcess, start_server

CLOSING_S = 0.05
CGROUP_LIMITS = tuple(Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory/memory.limit_in_bytes"))

log = logging.getLogger(__name__)


class Crew:
    """Workers at their items, each by a thread of its own."""

    def __init__(self, items: Sequence[Any], workers: Sequence[WorkerProcess]) -> None:
        self.items, self.workers = items, workers
        self.waiting = deque(range(len(items)))
        self.answers: Queue[tuple[int, Any]] = Queue(feed.MAX_UNREAD)
        self.closing = threading.Event()
        self.threads = [threading.Thread(target=self.keep_busy, args=(w,), daemon=True) for w in workers]

    def start(self) -> None:
        """Let the workers begin."""
        for thread in self.threads:
            thread.start()

    def keep_busy(self, worker: WorkerProcess) -> None:
        """Give a worker item after item; what makes going on impossible is the last answer."""
        try:
            with suppress(IndexError):
                while not self.closing.is_set():
                    index = self.waiting.popleft()
                    start_s = time.monotonic()
                    answer = self.answer(worker, index)
                    log.debug("item %d took %.2f s", index, time.monotonic() - start_s)
                    self.answers.put((index, answer))
                    del answer  # which may be big
        except Exception as err:
            self.answers.put((-1, err))
        finally:
            worker.stop()

    def answer(self, worker: WorkerProcess, index: int) -> Any:
        """What came of one item; it is tried again if its process died of itself."""
        try:
            item = packed(self.items[index])
        except Exception as err:
            return Failure(err)
        died = ""
        for _ in range(feed.MAX_DEATHS):
            if self.closing.is_set():
                break
            try:
                return worker.run(item)
            except (TimeLimitReached, MemoryLimitReached) as err:
                return Failure(err)
            except WorkerDied as err:
                died = str(err)
        return Failure(WorkerDied(f"twice its worker process {died}"))

    def close(self) -> None:
        """End all processes and threads."""
        self.closing.set()
        while any(thread.is_alive() for thread in self.threads):
            for worker in self.workers:
                worker.kill()
            with suppress(Empty):  # makes room for who waits to answer
                self.answers.get(timeout=CLOSING_S)


def map_local(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    num_workers: int,
    memory_limit: str | float,
    time_limit_s: float | None,
) -> Iterator[Outcome[Any, Any]]:
    """As workers answer; see Executor."""
    start_server()
    limit = bytes_of(memory_limit, num_workers)
    threads = num_cores() if num_workers == 1 else 1
    packed_function = packed(function)
    crew = Crew(
        items,
        [
            WorkerProcess(packed_function, num_threads=threads, memory_limit=limit, time_limit_s=time_limit_s)
            for _ in range(num_workers)
        ],
    )
    try:
        crew.start()
        for _ in items:
            index, answer = crew.answers.get()
            if index < 0:
                raise answer
            outcome = Outcome(items[index], answer)
            del answer
            yield outcome
            del outcome  # else it would stay in memory while the next one is waited for
    finally:
        crew.close()


def packed(thing: object) -> bytes:
    """A thing as bytes, functions of a script or notebook too."""
    import cloudpickle

    return cloudpickle.dumps(thing)


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process is in."""
    found = [psutil.virtual_memory().total]
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # none, or "max"
            found.append(int(path.read_text()))
    return min(found)


def bytes_of(memory_limit: str | float, num_workers: int, *, key: str = "parallel.memory_limit") -> int:
    """Bytes for each process; auto is an equal share. Raises UserError, with the key, for what is no size."""
    if memory_limit == "auto":
        return machine_bytes() // num_workers
    from dask.utils import parse_bytes

    try:
        return parse_bytes(memory_limit)
    except ValueError:
        raise UserError(f"{key}={memory_limit}: not a size; auto or, say, 4GB") from None
