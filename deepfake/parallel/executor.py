"""Map a function over items in this process, on all cores or on a Dask cluster; a failure is a result too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deepfake.parallel.cluster import connected
from deepfake.parallel.feed import Feed
from deepfake.parallel.outcome import Failure, Item, Outcome, Result, num_cores
from deepfake.parallel.worker import unpacked


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where a function is mapped over items: this process, all cores of this machine, or a Dask cluster.

    num_workers: processes of one thread each on this machine; None takes all cores, 1 works in this process.
    address: of a running Dask scheduler, tcp://host:8786, which then decides how many workers there are.
    memory_limit: of a worker on this machine, 2GB or bytes; auto gives each an equal share of the memory. A
    worker at 95% of it is killed. Workers of a cluster have the limit they were started with.
    """

    num_workers: int | None = None
    address: str | None = None
    memory_limit: str | float = "auto"

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        """Yield every item with function(item) or the Failure it ended in, in the order they finish.

        Items of a lost worker run again; one that has lost two is a Failure. Outside this process function,
        items and results must be picklable, and workers go on while the caller is busy with an outcome.
        Closing the generator ends local workers; those of a cluster finish their one running item.
        Raises UserError if the cluster cannot be reached, vanishes, or has other versions than this process.
        """
        workers = min(self.num_workers or num_cores(), len(items))
        if not items or (self.address is None and workers == 1):
            return map_here(function, items)
        return map_dask(self, function, items, workers)


def map_here(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
    """One item after the other, in order."""
    for item in items:
        try:
            result: Result | Failure = function(item)
        except Exception as err:
            result = Failure(err)
        yield Outcome(item, result)


def map_dask(
    executor: Executor, function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Outcome[Item, Result]]:
    """As workers answer; the client's event loop, in a thread of its own, keeps them fed meanwhile."""
    with connected(executor.address, workers, executor.memory_limit) as client:
        loop = client.loop.asyncio_loop
        feed = Feed(client, function, items)
        feeding = asyncio.run_coroutine_threadsafe(feed.run(), loop)
        try:
            for _ in items:
                index, answer = asyncio.run_coroutine_threadsafe(feed.answers.get(), loop).result()
                if isinstance(answer, Exception):
                    raise answer
                yield Outcome(items[index], unpacked(answer))
        finally:
            feeding.cancel()
            if client.status == "running":
                client.unsubscribe_topic("all")
