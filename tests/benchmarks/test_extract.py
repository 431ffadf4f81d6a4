from collections import Counter

import pytest

from benchmarks.bench import TimedResult, medians, timed_turns, wall_s
from benchmarks.extract import Times, compare


def rounds(**seconds: tuple[float, ...]) -> list[tuple[str, float]]:
    """Seconds of each video in each round, round by round."""
    return [(key, own[number]) for number in range(3) for key, own in seconds.items()]


def test_ratios_are_those_of_medians_and_a_turn_counts_by_the_number_of_workers() -> None:
    times = Times(
        copies=1,
        readers={"a": "pyav", "b": "decord", "c": "pyav"},
        baseline=rounds(a=(10, 12, 11), b=(30, 30, 99), c=(8, 8, 8)),
        ours=rounds(a=(2, 2, 7), b=(4, 4, 1), c=(8, 8, 8)),
        wall_ours=[3, 6, 4],
        wall_decode=[2, 3, 4],
        stages=Counter({"detect": 22.0, "decode": 11.0}),
    )
    measured = compare(times, workers=2)
    assert measured.figures == pytest.approx(
        {
            "extract/speedup_over_baseline": 11,  # of 11 / 1, 30 / 2, 8 / 4
            "extract/total_speedup": 49 / 7,
            "extract/wall_over_decode": 1.5,
            "extract/share_decode": 0.25,
            "extract/share_detect": 0.5,
        }
    )
    assert measured.details["videos"]["b"] == {
        "baseline_s": 30,
        "ours_s": 2,
        "speedup": 15,
        "reader": "decord",
    }


def test_wall_time_runs_from_the_first_beginning_to_the_last_end() -> None:
    turns = [TimedResult("a", 2.0, 5.0), TimedResult("b", 1.0, 3.0), TimedResult("c", 3.0, 4.5)]
    assert wall_s(turns) == 4.0
    assert [turn.seconds for turn in turns] == [3.0, 2.0, 1.5]


def test_medians_are_taken_name_by_name() -> None:
    assert medians([("a", 1), ("b", 5), ("a", 9), ("a", 2)]) == {"a": 2, "b": 5}


def test_turns_come_in_the_order_of_the_items_and_extra_ones_are_not_counted() -> None:
    seen: list[int] = []
    turns = timed_turns(seen.append, [3, 1, 2], num_workers=0, warm_up=lambda: seen.append(0), extra=[9])
    assert seen == [0, 3, 0, 1, 0, 2, 0, 9]
    assert len(turns) == 3


def test_what_a_turn_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        timed_turns(lambda x: 1 / x, [1, 0], num_workers=0, warm_up=lambda: None)
