"""Where the seconds of an extraction go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """Wall seconds by stage, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time the block takes."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start

    def each(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items; the time it takes to get each is added."""
        left = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(left)
                except StopIteration:
                    return
            yield item
            del item  # which may be big, before the next one is made
