"""Map a function over items in processes of this machine or of a Dask cluster; a failure is a result too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deepfake.errors import UserError
from deepfake.parallel.cluster import connected
from deepfake.parallel.feed import Feed
from deepfake.parallel.local import map_local
from deepfake.parallel.outcome import Failure, Item, Outcome, Result, num_cores
from deepfake.parallel.worker import unpacked


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where a function is mapped over items: processes of this machine, or of a Dask cluster.

    num_workers: processes on this machine, of one thread each unless there is but one; None is one for each
    core. 0 works in this process, which nothing then guards from a crash, a hang or a lack of memory.
    address: of a running Dask scheduler, tcp://host:8786, which then decides how many workers there are.
    memory_limit: of a worker on this machine, 2GB or bytes; auto gives each an equal share of the memory. A
    worker at 95% of it is ended. Workers of a cluster have the limit they were started with.
    time_limit_s: for one item on this machine, after which its worker is ended; None is none.
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

        Items of a lost worker run again; one that has lost two is a Failure, as is one that reached a limit.
        Outside this process function, items and results must be picklable, and workers go on while the caller
        is busy with an outcome.
        Closing the generator ends local workers; those of a cluster finish their one running item.
        Raises UserError if the cluster cannot be reached, vanishes, or has other versions than this process.
        """
        if self.address is not None and items:
            return map_dask(self.address, function, items)
        if self.num_workers == 0 or not items:
            return map_here(function, items)
        return map_local(
            function,
            items,
            num_workers=min(self.num_workers or num_cores(), len(items)),
            memory_limit=self.memory_limit,
            time_limit_s=self.time_limit_s,
        )


def map_here(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
    """One item after the other, in order."""
    for item in items:
        try:
            result: Result | Failure = function(item)
        except Exception as err:
            result = Failure(err)
        yield Outcome(item, result)


def map_dask(
    address: str, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Outcome[Item, Result]]:
    """As workers answer; the client's event loop, in a thread of its own, keeps them fed meanwhile."""
    with connected(address) as client:
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
