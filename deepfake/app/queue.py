"""Uploads that wait, are judged in order, and are forgotten in time."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deepfake.app.worker import ErrandFailed, Report
from deepfake.errors import UserError

PURGE_S = 5

log = logging.getLogger(__name__)


class Works(Protocol):
    """A Worker, as far as the queue knows it."""

    def run(self, errand: Any, report: Report, *, limit_s: float) -> Any:
        """Blocks; raises ErrandFailed."""

    def interrupt(self) -> None:
        """Make what runs fail."""

    def stop(self) -> None:
        """End for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a worker is asked: judge the upload, called label by its user, and write results into folder."""

    upload: Path
    folder: Path
    label: str


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """An upload and what became of it.

    status: waiting, working, done or failed. stage, share: what is being done and how much of it, in [0, 1],
    if known. message: why it failed. answer: the worker's. ended: on the monotonic clock.
    """

    id: str
    folder: Path
    label: str = ""
    upload: Path | None = None
    status: str = "waiting"
    stage: str = "waiting"
    share: float | None = None
    message: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    ended: float | None = None

    def report(self, stage: str, share: float | None = None) -> None:
        """Note how far it is."""
        self.stage, self.share = stage, share


class Full(RuntimeError):
    """As many uploads wait as may."""


class Queue:
    """Jobs in the order they came, one at a time to each worker; lives in one event loop.

    root: where each job has a folder. keep: leave uploads and results there for good; else an upload goes as
    soon as its answer is made, and results keep_minutes later.
    """

    def __init__(
        self,
        workers: Sequence[Works],
        root: Path,
        *,
        max_waiting: int = 32,
        limit_s: float = 900,
        keep_minutes: float = 60,
        keep: bool = False,
    ) -> None:
        self.workers, self.root = workers, root
        self.max_waiting, self.limit_s = max_waiting, limit_s
        self.keep_minutes, self.keep = keep_minutes, keep
        self.jobs: dict[str, Job] = {}
        self.waiting: deque[Job] = deque()
        self._arriving = 0
        self._at: dict[Job, Works] = {}
        self._came = asyncio.Condition()

    @contextmanager
    def arriving(self) -> Iterator[Job]:
        """A new job with a folder to write its upload into; a block that raises leaves nothing of it.

        Raises Full where as many wait or arrive as may.
        """
        if self._arriving + len(self.waiting) >= self.max_waiting:
            raise Full(f"{self.max_waiting} videos are waiting already: try again when some are done")
        name = secrets.token_urlsafe(18)
        job = Job(id=name, folder=self.root / name)
        job.folder.mkdir(mode=0o700)
        self._arriving += 1
        try:
            yield job
        except BaseException:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        finally:
            self._arriving -= 1

    async def add(self, job: Job) -> None:
        """Let a job wait for its turn."""
        self.jobs[job.id] = job
        self.waiting.append(job)
        async with self._came:
            self._came.notify()

    def place(self, job: Job) -> int:
        """1 for the one whose turn is next, 0 for one that does not wait."""
        return self.waiting.index(job) + 1 if job in self.waiting else 0

    def remove(self, job: Job) -> None:
        """Forget a job and its results, and leave it undone if it is; what is kept stays on the disk."""
        self.jobs.pop(job.id, None)
        with suppress(ValueError):
            self.waiting.remove(job)
        if job in self._at:
            self._at[job].interrupt()  # its folder goes when the worker has let go of it
        elif not self.keep:
            shutil.rmtree(job.folder, ignore_errors=True)

    async def run(self) -> None:
        """Work until cancelled; workers have ended then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._purge())
                for worker in self.workers:
                    tasks.create_task(self._work(worker))
        finally:
            for worker in self.workers:
                worker.stop()

    async def _work(self, worker: Works) -> None:
        while True:
            async with self._came:
                await self._came.wait_for(lambda: self.waiting)
                job = self.waiting.popleft()
            self._at[job] = worker
            job.status = "working"
            try:
                await self._do(job, worker)
            finally:
                del self._at[job]
                self._clear(job)

    async def _do(self, job: Job, worker: Works) -> None:
        assert job.upload is not None
        errand = Errand(upload=job.upload, folder=job.folder, label=job.label)
        doing = asyncio.to_thread(worker.run, errand, job.report, limit_s=self.limit_s)
        try:
            job.answer = await doing
            job.status = "done"
        except asyncio.CancelledError:
            worker.stop()  # else its thread, which cannot be cancelled, would be waited for
            raise
        except (ErrandFailed, UserError) as err:
            job.status, job.message = "failed", str(err)
        except Exception as err:
            log.exception("a worker could not be used")
            job.status, job.message = "failed", f"{type(err).__name__}: {err}"
        job.ended = time.monotonic()

    def _clear(self, job: Job) -> None:
        """Delete the upload, and all of a job that nobody can ask for."""
        if self.keep:
            return
        if job.upload is not None:
            job.upload.unlink(missing_ok=True)
        if job.status != "done" or job.id not in self.jobs:
            shutil.rmtree(job.folder, ignore_errors=True)

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(min(PURGE_S, self.keep_minutes * 60 / 2))
            old = time.monotonic() - self.keep_minutes * 60
            for job in [job for job in self.jobs.values() if job.ended is not None and job.ended < old]:
                self.remove(job)
