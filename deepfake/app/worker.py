"""A process that does one errand after the other, and is started anew after it died or took too long.

Decoders of broken films can crash or hang a process; neither must end the page.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from deepfake.errors import DecodeError, UserError
from deepfake.parallel.process import WATCH_S, interrupts_held, near_limit

Report = Callable[[str, float | None], None]
"""Told the stage, and how much of it is done, in [0, 1], where that is known."""
Doer = Callable[[Any, Report], Any]
Make = Callable[[], tuple[Doer, Any]]
"""Called in the process, once: what does the errands, and facts for the one who starts it."""


class ErrandFailed(RuntimeError):
    """An errand came to nothing; the text is one sentence for the user."""


class Worker:
    """One process; make, errands and answers must be picklable.

    memory_limit: bytes of resident memory; a process that comes near to it is ended.
    Errands are run by one thread at a time; stop() and interrupt() may be called from any. scratch: a folder
    that the process removes should it be left alone.
    """

    def __init__(self, make: Make, *, scratch: Path | None = None, memory_limit: int | None = None) -> None:
        self.make, self.scratch, self.memory_limit = make, scratch, memory_limit
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._lock, self._stopped = threading.Lock(), False

    def start(self) -> Any:
        """Start the process, wait until it is ready and return its facts; raises what make raised."""
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        with self._lock:
            if self._stopped:
                raise ErrandFailed("the page is closing")
            with interrupts_held():
                self._process = context.Process(
                    target=serve, args=(theirs, self.make, self.scratch), daemon=True
                )
                self._process.start()
        theirs.close()  # so that its end is noticed
        try:
            kind, value = self._connection.recv()
        except EOFError:
            self._forget()
            raise ErrandFailed("the process that judges videos ended while it started") from None
        if kind != "ready":
            self._forget()
            raise value
        return value

    def run(self, errand: Any, report: Report, *, limit_s: float) -> Any:
        """What the doer returns; raises ErrandFailed if it raised, died, or took too much time or memory."""
        if self._process is not None and not self._process.is_alive():
            self._forget()  # it died while it had nothing to do, which is not this errand's fault
        if self._process is None:
            report("starting", None)
            self.start()
        assert self._connection is not None
        try:
            self._connection.send(errand)
            end = time.monotonic() + limit_s
            while (left := end - time.monotonic()) > 0:
                if not self._connection.poll(min(left, WATCH_S)):
                    self._check_memory()
                    continue
                kind, value = self._connection.recv()
                if kind == "progress":
                    report(*value)
                elif kind == "done":
                    return value
                else:
                    raise ErrandFailed(value)
        except (EOFError, OSError):
            self._forget()
            raise ErrandFailed(
                "the process that read it crashed, which broken or hostile files can cause"
            ) from None
        self._forget()
        raise ErrandFailed(f"it took longer than {limit_s:g} s (time_limit_s)")

    def _check_memory(self) -> None:
        """End a process that has come near to its limit; raises ErrandFailed then."""
        assert self._process is not None
        if self.memory_limit is not None and near_limit(self._process, self.memory_limit):
            self._forget()
            raise ErrandFailed(
                f"it needed more than {self.memory_limit / 1e9:.1f} GB of memory (memory_limit)"
            )

    def interrupt(self) -> None:
        """End what is running, which then fails."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def stop(self) -> None:
        """End the process for good."""
        with self._lock:
            self._stopped = True
        self.interrupt()

    def _forget(self) -> None:
        with self._lock:
            assert self._process is not None
            assert self._connection is not None
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None


def serve(connection: Connection, make: Make, scratch: Path | None) -> None:
    """What the process does until its parent is gone; then nobody else can remove the scratch folder."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN
        )  # of a terminal that closes; the parent ends this process
    try:
        do, about = make()
    except Exception as err:
        connection.send(("failed", err))
        return
    try:
        connection.send(("ready", about))
        while True:
            connection.send(outcome(do, connection.recv(), lambda *step: connection.send(("progress", step))))
    except (EOFError, OSError):
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def outcome(do: Doer, errand: Any, report: Report) -> tuple[str, Any]:
    """("done", the answer) or ("failed", a sentence for the user)."""
    try:
        return "done", do(errand, report)
    except (UserError, DecodeError) as err:
        return "failed", str(err)
    except Exception as err:
        traceback.print_exc()
        return "failed", f"an unforeseen error stopped it: {type(err).__name__}: {err}"
