"""Items to the workers of a Dask cluster, one at a time each, and their answers back.

A worker process has one item and no queue, so that whichever item a dead worker had is known: it runs once
more elsewhere and, if it kills that worker too, becomes a Failure. Dask's own count would suspect all that
was queued on the worker too. The cluster's settings are neither needed nor changed.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

from deepfake.errors import UserError
from deepfake.parallel import worker as work
from deepfake.parallel.outcome import Failure, WorkerDied

MAX_DEATHS = 2  # of workers by one item
MAX_UNREAD = 16  # results that wait for the caller before workers do
PATIENCE_S = 5  # without any worker, before that is said

log = logging.getLogger(__name__)


class Feed:
    """Gives every worker one item at a time; lives in the client's event loop, so nothing needs a lock."""

    def __init__(self, client: Any, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.client, self.function, self.items = client, work.packed(function), items
        self.address: str = client.scheduler.address
        self.waiting = deque(range(len(items)))
        self.answers: asyncio.Queue[tuple[int, bytes | Failure | Exception]] = asyncio.Queue(MAX_UNREAD)
        self.idle: set[str] = set()
        self.removals: dict[str, asyncio.Future[dict[str, Any]]] = {}  # done for workers that went
        self.deaths: Counter[int] = Counter()
        self.limit = ""
        self.changed, self.listening = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Feed until cancelled; what makes going on impossible is the last answer."""
        try:
            async with asyncio.TaskGroup() as attempts:
                await self.find_workers()
                while True:
                    await self.until_one_can_run()
                    attempts.create_task(self.attempt(self.waiting.popleft(), self.idle.pop()))
        except* (OSError, CancelledError):
            lost = f"lost the Dask scheduler at {self.address}: start it and its workers, then run this again"
            await self.answers.put((-1, UserError(lost)))
        except* Exception as group:
            await self.answers.put((-1, group.exceptions[0]))

    async def find_workers(self) -> None:
        """Learn which workers there are, and from then on of every one that comes or goes."""
        self.client.subscribe_topic("all", self.hear)
        while not self.listening.is_set():  # the subscription may be slower than the question for workers
            await self.client.log_event("all", {"action": "deepfake-listens"})
            await asyncio.sleep(0.01)
        known = (await self.client.scheduler.identity(n_workers=-1))["workers"]
        for worker in known.keys() - self.removals.keys():
            self.join(worker)
        if limits := [about["memory_limit"] for about in known.values() if about["memory_limit"]]:
            self.limit = f", limit {min(limits) / 1e9:.1f} GB"
        if spare := sum(about["nthreads"] - 1 for about in known.values()):
            command = worker_command(self.address)
            log.warning("%d threads of the workers stay idle, start them with `%s`", spare, command)

    def hear(self, stamped: tuple[float, Any]) -> None:
        """Take an event from the scheduler."""
        match stamped[1]:
            case {"action": "add-worker", "worker": worker}:
                self.join(worker)
            case {"action": "remove-worker", "worker": worker} as event:
                self.idle.discard(worker)
                removal = self.removals.setdefault(worker, asyncio.Future())
                if not removal.done():
                    removal.set_result(event)
        self.listening.set()

    def join(self, worker: str) -> None:
        """Count on a worker from now on."""
        if worker not in self.removals or self.removals[worker].done():
            self.removals[worker] = asyncio.Future()
            self.idle.add(worker)
            self.changed.set()

    async def until_one_can_run(self) -> None:
        """Wait for an item and a worker without one."""
        told = False
        while not (self.waiting and self.idle):
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), PATIENCE_S)
            except TimeoutError:
                if self.client.status != "running":
                    raise ConnectionError from None
                if not told and all(removal.done() for removal in self.removals.values()):
                    log.warning("waiting for workers: `%s` starts some", worker_command(self.address))
                    told = True

    async def attempt(self, index: int, worker: str) -> None:
        """Try one item on one worker, which is idle again when the caller has room for the answer."""
        removal = self.removals[worker]
        answer = await self.answer(index, worker, removal)
        if answer is not None:
            await self.answers.put((index, answer))
        else:
            self.waiting.append(index)
        if not removal.done():
            self.idle.add(worker)
        self.changed.set()

    async def answer(
        self, index: int, worker: str, removal: asyncio.Future[dict[str, Any]]
    ) -> bytes | Failure | None:
        """What came of one item on one worker; None if it must be tried again."""
        from distributed.scheduler import KilledWorker

        try:
            errand = work.packed(work.Errand(self.function, work.packed(self.items[index]), work.versions()))
        except Exception as err:
            return Failure(err)
        # a call of pickle.loads fails on a worker that cannot import this module; our own function, which
        # Dask unpickles elsewhere, would end that worker
        future = self.client.submit(pickle.loads, errand, workers=[worker], pure=False)
        result = asyncio.ensure_future(future.result())
        try:
            await asyncio.wait({result, removal}, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
        except KilledWorker:  # from a scheduler that allows no failures, before it says who was removed
            pass
        except (ImportError, AttributeError, UserError) as err:
            raise UserError(
                f"worker {worker} differs from this process ({err}): start it in the same environment, "
                f"`uv sync --frozen`, then `{worker_command(self.address)}`"
            ) from err
        finally:
            result.cancel()
        if self.blamed(index, future.key, await removal) < MAX_DEATHS:
            return None
        return Failure(WorkerDied(f"its worker process died twice (crash or out of memory{self.limit})"))

    def blamed(self, index: int, key: str, removal: dict[str, Any]) -> int:
        """How many workers died of the item, counting this one if it had the item and did not mean to go."""
        had = {*removal["processing-tasks"], *removal["lost-computed-tasks"]}
        self.deaths[index] += key in had and not removal["expected"]
        return self.deaths[index]


def worker_command(address: str) -> str:
    """How a user starts workers that suit us."""
    return f"dask worker {address} --nthreads 1 --nworkers N"
