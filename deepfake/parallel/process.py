"""A process of this machine that does one item after the other, watched from outside.

It is forked from a server that has imported what is heavy, so that one starts in a moment; each has a pipe of
its own, so that whatever state it dies in, no other is touched.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection as pipes
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from deepfake.parallel.outcome import MemoryLimitReached, TimeLimitReached, WorkerDied, too_slow
from deepfake.parallel.serve import received, serve

PRELOADED = ("deepfake.cli", "deepfake.faces.extract", "deepfake.prediction.predictor")
"""Imported once, by the server; by name, since this package comes before them."""
WATCH_S = 0.1
MEMORY_SHARE = 0.95  # of its limit, at which a process is ended
DYING_S = 5.0

_children = threading.Lock()  # multiprocessing keeps a list of them that is not made for threads


def start_server() -> None:
    """Start the server that workers are forked from, unless it runs; it imports on its own from here on."""
    get_context("forkserver").set_forkserver_preload(list(PRELOADED))
    with interrupts_held():  # it and its children keep that
        forkserver.ensure_running()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Threads and processes started meanwhile see neither Ctrl-C nor what else asks to end.

    To end them is this process's affair, also where a signal goes to all of a job.
    """
    resource_tracker.ensure_running()  # which would let signals through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerProcess:
    """Runs function, pickled, on one item at a time; used by one thread, stop() may be called from any.

    num_threads: of libraries in it. memory_limit: bytes of resident memory. time_limit_s: for an item.
    """

    def __init__(
        self, function: bytes, *, num_threads: int, memory_limit: int, time_limit_s: float | None
    ) -> None:
        self.function, self.num_threads = function, num_threads
        self.memory_limit, self.time_limit_s = memory_limit, time_limit_s
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._starting = False

    def run(self, item: bytes) -> Any:
        """function's result or its Failure; raises WorkerDied if the process ended instead, or was ended."""
        process, connection = self._running()
        try:
            if self._starting:
                connection.recv_bytes()
                self._starting = False
            start_s = time.monotonic()
            connection.send_bytes(item)
            while not connection.poll(WATCH_S):
                if self.time_limit_s is not None and time.monotonic() - start_s > self.time_limit_s:
                    raise TimeLimitReached(too_slow(self.time_limit_s))
                if near_limit(process, self.memory_limit):
                    raise MemoryLimitReached(
                        f"it needed more than {self.memory_limit / 1e9:.1f} GB of memory and was ended; "
                        "parallel.memory_limit, or fewer parallel.num_workers, allow more"
                    )
            return received(connection)
        except (EOFError, OSError):
            pipes.wait([process.sentinel], timeout=DYING_S)  # so that it tells how it ended
            raise WorkerDied(end_told(self.stop())) from None
        except WorkerDied:
            self.stop()
            raise

    def stop(self) -> int:
        """End the process, if there is one; returns its exit status, negative for a signal."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is None or connection is None:
            return 0
        process.kill()
        pipes.wait([process.sentinel])
        with _children:
            process.join()
        connection.close()
        return process.exitcode or 0

    def kill(self) -> None:
        """Let the process end, from another thread than the one that uses it, which sees it die."""
        if (process := self._process) is not None:
            process.kill()

    def _running(self) -> tuple[BaseProcess, Connection]:
        if self._process is None or self._connection is None:
            context = get_context("forkserver")
            self._connection, theirs = context.Pipe()
            process = context.Process(
                target=serve, args=(theirs, self.function, self.num_threads), daemon=True
            )
            with _children:
                process.start()
            theirs.close()  # so that its end is noticed
            self._process, self._starting = process, True
        return self._process, self._connection


def near_limit(process: BaseProcess, memory_limit: int) -> bool:
    """Whether a process has MEMORY_SHARE of its limit, bytes of resident memory; not if it is gone."""
    try:
        used = psutil.Process(process.pid).memory_info().rss
    except psutil.Error:
        return False
    return used > MEMORY_SHARE * memory_limit


def end_told(status: int) -> str:
    """What became of a process, for a table."""
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL, as the system does when memory is short: fewer parallel.num_workers)"
    if status < 0:
        return f"crashed ({signal.Signals(-status).name}), as broken or hostile files make a decoder do"
    return f"ended with status {status}"
