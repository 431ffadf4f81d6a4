"""What holds of windows over any track: nothing is lost, bridged or counted twice."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepfake.data.windows import (
    TrackFrames,
    balanced_picks,
    batches_of_frames,
    eval_windows,
    pairs,
    runs,
    spread,
    spread_evenly,
    track_windows,
    train_windows,
    window_starts,
)
from deepfake.records import InputSpec

SIZES = st.integers(1, 12)
STRATA = st.lists(st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1)


@st.composite
def tracks(draw: st.DrawFn, video: int = 0) -> TrackFrames:
    """A face that is seen on some of the sampled frames, at least one."""
    seen = draw(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=1, max_size=40))
    clip, step = np.array(sorted(seen)).T
    return TrackFrames(video, 0, np.arange(len(clip)), clip, step, 100 * clip + step)


def spec(window: int, stride: int) -> InputSpec:
    return InputSpec(size=8, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1), window=window, stride=stride)


SPECS = st.builds(spec, st.integers(1, 6), st.integers(1, 3))


@given(num=st.integers(1, 60), length=SIZES, stride=SIZES)
def test_starts_ascend_from_the_first_frame_and_the_last_window_ends_on_the_last(
    num: int, length: int, stride: int
) -> None:
    starts = window_starts(num, length, stride)
    steps = np.diff(starts)
    assert (starts[0], starts[-1]) == (0, max(num - length, 0))
    assert ((steps > 0) & (steps <= stride)).all()
    if stride <= length:
        assert {s + place for s in starts.tolist() for place in range(length)} >= set(range(num))


@given(track=tracks())
def test_runs_part_a_track_where_a_sampled_frame_is_missing_and_nowhere_else(track: TrackFrames) -> None:
    bounds = runs(track.clip, track.step).tolist()
    places = [place for first, last in bounds for place in range(first, last + 1)]
    assert places == list(range(len(track)))
    seen = set(zip(track.clip.tolist(), track.step.tolist(), strict=True))
    for first, last in bounds:
        clip, step = int(track.clip[first]), int(track.step[first])
        assert track.clip[first : last + 1].tolist() == [clip] * (last - first + 1)
        assert track.step[first : last + 1].tolist() == list(range(step, step + last - first + 1))
        assert (clip, step - 1) not in seen


@given(track=tracks(), spec=SPECS, hop=SIZES)
def test_a_window_s_frames_are_stride_apart_in_one_run_unless_no_run_is_long_enough(
    track: TrackFrames, spec: InputSpec, hop: int
) -> None:
    windows = track_windows(track, spec, hop=hop)
    assert {len(window) for window in windows} == {spec.window}
    longest = max(last - first + 1 for first, last in runs(track.clip, track.step).tolist())
    if longest < spec.span:
        assert len(windows) == 1
    for window in windows:
        places = list(window)
        assert len({int(track.clip[place]) for place in places}) == 1
        steps = np.diff(track.step[places])
        assert ((steps == spec.stride) if longest >= spec.span else (steps <= spec.stride)).all()


@given(track=tracks(), spec=SPECS)
def test_dense_windows_show_every_frame_of_each_run_that_is_long_enough(
    track: TrackFrames, spec: InputSpec
) -> None:
    shown = {place for window in track_windows(track, spec, hop=1) for place in window}
    for first, last in runs(track.clip, track.step).tolist():
        # of a run shorter than two strides' windows the frames between may have none
        if last - first + 1 >= spec.span + spec.stride - 1:
            assert shown >= set(range(first, last + 1))


@given(track=tracks(), spec=SPECS, most=st.none() | SIZES, hop=st.none() | SIZES)
def test_no_two_eval_windows_have_one_key(
    track: TrackFrames, spec: InputSpec, most: int | None, hop: int | None
) -> None:
    windows = eval_windows(track, spec, max_windows=most, hop=hop)
    keys = [(window.video, window.track, window.start) for window in windows]
    assert len(set(keys)) == len(keys)
    assert len(keys) <= (most or len(keys))
    assert keys == sorted(keys)


@given(num=st.integers(1, 50), count=SIZES)
def test_spread_places_are_even_to_one(num: int, count: int) -> None:
    places = spread(num, count).tolist()
    assert len(places) == min(num, count)
    steps = {second - first for first, second in pairwise(places)}
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)
    if count > 1:
        assert (places[0], places[-1]) == (0, num - 1)


@given(found=st.lists(tracks(), min_size=1, max_size=3), spec=SPECS, hop=SIZES, most=st.integers(1, 20))
def test_batches_hold_all_windows_in_order_and_no_more_frames_than_they_may(
    found: list[TrackFrames], spec: InputSpec, hop: int, most: int
) -> None:
    windows = [
        window._replace(video=video)
        for video, track in enumerate(found)
        for window in eval_windows(track, spec, max_windows=None, hop=hop)
    ]
    batches = batches_of_frames(windows, max_frames=most)
    assert [window for batch in batches for window in batch] == windows
    for batch in batches:
        frames = {(window.video, row) for window in batch for row in window.rows}
        assert len(batch) == 1 or len(frames) <= most


@given(strata=STRATA, num=st.integers(0, 60), seed=st.integers(0, 9))
def test_picks_are_even_to_one_at_every_level(
    strata: list[tuple[int, str, str]], num: int, seed: int
) -> None:
    picks = balanced_picks(strata, num, np.random.default_rng(seed)).tolist()
    assert len(picks) == num
    for depth in range(4):
        for above in {stratum[:depth] for stratum in strata}:
            within = [pick for pick in picks if strata[pick][:depth] == above]
            if depth == 3:
                members = {item for item, stratum in enumerate(strata) if stratum == above}
                counts = Counter(dict.fromkeys(members, 0))
                counts.update(within)
            else:
                values = {stratum[depth] for stratum in strata if stratum[:depth] == above}
                counts = Counter(dict.fromkeys(values, 0))
                counts.update(strata[pick][depth] for pick in within)
            assert max(counts.values()) - min(counts.values()) <= 1


@given(strata=STRATA, seed=st.integers(0, 9))
def test_items_spread_evenly_are_all_of_them_and_no_stratum_lags(
    strata: list[tuple[int, str, str]], seed: int
) -> None:
    order = spread_evenly(strata, np.random.default_rng(seed)).tolist()
    assert sorted(order) == list(range(len(strata)))
    sizes, so_far = Counter(strata), Counter[tuple[int, str, str]]()
    for done, item in enumerate(order, 1):
        so_far[strata[item]] += 1
        for stratum, size in sizes.items():
            # each of the other strata may be one too early or too late
            assert abs(so_far[stratum] - size * done / len(order)) <= 1 + len(sizes)


@given(found=st.lists(tracks(), min_size=1, max_size=4), spec=SPECS, seed=st.integers(0, 9), data=st.data())
def test_training_windows_are_as_many_as_asked_each_one_that_its_track_holds(
    found: list[TrackFrames], spec: InputSpec, seed: int, data: st.DataObject
) -> None:
    strata = data.draw(st.lists(st.tuples(st.integers(0, 1)), min_size=len(found), max_size=len(found)))
    numbered = [TrackFrames(v, 0, t.rows, t.clip, t.step, t.frame) for v, t in enumerate(found)]
    windows = train_windows(numbered, strata, spec, windows_per_video=3, seed=seed, epoch=0)
    assert len(windows) == 3 * len(found)
    for window in windows:
        assert window.rows in track_windows(numbered[window.video], spec, hop=1)
    twins = pairs(windows)
    assert [twin.rows for twin in twins[::2]] == [twin.rows for twin in twins[1::2]]
    assert len(windows) <= len(twins) <= len(windows) + 1
