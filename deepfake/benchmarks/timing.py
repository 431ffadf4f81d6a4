"""How long items take while all workers are busy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import monotonic
from typing import Any, Generic, TypeVar

from deepfake.parallel import Executor, Failure

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Turn(Generic[Result]):
    """What became of one item: result, and when it began and ended on this machine's monotonic clock."""

    result: Result
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it took in its worker."""
        return self.end_s - self.start_s


def timed_turns(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_workers: int,
    warm_up: Callable[[], object],
    extra: Sequence[Item] = (),
) -> list[Turn[Result]]:
    """function(item) of every item on num_workers processes, in the order of the items.

    warm_up() runs before each turn, outside its time. extra: items that follow, so that all workers are
    busy until the last counted turn has ended; they are not counted. Raises what the function raised.
    """
    turns: dict[int, Turn[Result]] = {}
    job = partial(_timed, function, warm_up)
    for outcome in Executor(num_workers=num_workers).map_unordered(job, list(enumerate([*items, *extra]))):
        if isinstance(outcome.result, Failure):
            raise outcome.result.error
        turns[outcome.item[0]] = outcome.result
    return [turns[place] for place in range(len(items))]


def wall_s(turns: Sequence[Turn[Any]]) -> float:
    """From the first beginning to the last end."""
    return max(turn.end_s for turn in turns) - min(turn.start_s for turn in turns)


def medians(pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The median of each name's values."""
    values: dict[str, list[float]] = defaultdict(list)
    for name, value in pairs:
        values[name].append(value)
    return {name: median(own) for name, own in values.items()}


def _timed(
    function: Callable[[Item], Result], warm_up: Callable[[], object], numbered: tuple[int, Item]
) -> Turn[Result]:
    _, item = numbered
    warm_up()
    start_s = monotonic()
    result = function(item)
    return Turn(result, start_s, monotonic())
