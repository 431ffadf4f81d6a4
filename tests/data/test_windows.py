import numpy as np
import pytest

from deepfake.data.windows import (
    EvalSettings,
    TrackFrames,
    balanced_picks,
    batches_of_frames,
    eval_windows,
    runs,
    scored_windows,
    spread,
    spread_evenly,
    track_windows,
    train_windows,
    window_starts,
)
from deepfake.records import InputSpec, Window


def spec(window: int, stride: int = 1) -> InputSpec:
    return InputSpec(size=8, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1), window=window, stride=stride)


def track(steps: dict[int, list[int]], video: int = 0, first_row: int = 0) -> TrackFrames:
    """A track seen at these steps of these clips; clip c starts at frame 100 c."""
    clip = np.array([c for c, s in steps.items() for _ in s])
    step = np.array([x for s in steps.values() for x in s])
    return TrackFrames(video, 0, np.arange(len(clip)) + first_row, clip, step, clip * 100 + step)


@pytest.mark.parametrize(
    ("num_frames", "length", "stride", "expected"),
    [(20, 16, 8, [0, 4]), (16, 16, 8, [0]), (5, 16, 8, [0]), (4, 1, 1, [0, 1, 2, 3]), (8, 3, 3, [0, 3, 5])],
)
def test_window_starts_cover_all_frames(
    num_frames: int, length: int, stride: int, expected: list[int]
) -> None:
    assert window_starts(num_frames, length, stride).tolist() == expected


def test_runs_break_at_a_new_clip_and_at_a_missing_step() -> None:
    t = track({0: [0, 1, 3], 1: [0, 1]})
    assert runs(t.clip, t.step).tolist() == [[0, 1], [2, 2], [3, 4]]


def test_no_window_bridges_a_frame_without_the_face() -> None:
    t = track({0: [0, 1, 2, 4, 5, 6, 7], 1: [0, 1]})
    assert track_windows(t, spec(3), hop=1) == [(0, 1, 2), (3, 4, 5), (4, 5, 6)]


def test_a_stride_takes_every_second_frame_of_one_run() -> None:
    assert track_windows(track({0: list(range(6))}), spec(3, stride=2), hop=1) == [(0, 2, 4), (1, 3, 5)]


def test_only_a_track_without_a_long_enough_run_repeats_a_last_frame() -> None:
    assert track_windows(track({0: [0, 2, 3, 4]}), spec(5), hop=5) == [(1, 2, 3, 3, 3)]


def test_spread_is_even_and_holds_both_ends() -> None:
    assert spread(10, 4).tolist() == [0, 3, 6, 9]
    assert spread(3, 8).tolist() == [0, 1, 2]
    assert spread(9, 1).tolist() == [4]


def test_eval_windows_lie_side_by_side_with_keys_of_the_video() -> None:
    two_clips = track({0: list(range(8)), 1: list(range(8))}, video=7)
    windows = eval_windows(two_clips, spec(4), max_windows=3)
    assert [(w.video, w.start, w.rows) for w in windows] == [
        (7, 0, (0, 1, 2, 3)),
        (7, 100, (8, 9, 10, 11)),
        (7, 104, (12, 13, 14, 15)),
    ]


def test_dense_eval_windows_start_on_every_frame_of_a_clip_and_none_bridges_two() -> None:
    two_clips = track({0: list(range(5)), 1: list(range(4))})
    windows = eval_windows(two_clips, spec(3), max_windows=None, hop=1)
    assert [w.rows for w in windows] == [(0, 1, 2), (1, 2, 3), (2, 3, 4), (5, 6, 7), (6, 7, 8)]


def windows_of(*rows: tuple[int, ...], video: int = 0) -> list[Window]:
    return [Window(video, 0, own[0], own) for own in rows]


def test_windows_that_share_frames_are_in_one_batch() -> None:
    first, second = windows_of((0, 1), (1, 2)), windows_of((4, 5), (5, 6))
    assert batches_of_frames(first + second, max_frames=5) == [first, second]
    assert batches_of_frames(first + second, max_frames=6) == [first + second]


def test_equal_rows_of_two_videos_are_different_frames() -> None:
    one, other = windows_of((0, 1)), windows_of((0, 1), video=1)
    assert batches_of_frames(one + other, max_frames=3) == [one, other]


def test_a_chain_longer_than_a_batch_is_cut_between_windows() -> None:
    dense = windows_of(*[(n, n + 1, n + 2) for n in range(6)])
    batches = batches_of_frames(dense, max_frames=4)
    assert batches == [dense[:2], dense[2:4], dense[4:]]
    assert batches_of_frames(dense, max_frames=1) == [[window] for window in dense]


def test_tracks_much_shorter_than_the_longest_are_not_scored() -> None:
    long, short, half = track({0: list(range(8))}), track({0: [0]}), track({0: [0, 1, 2, 3]})
    assert [w.rows for w in scored_windows([long, short, half], spec(4), EvalSettings())] == [
        (0, 1, 2, 3),
        (4, 5, 6, 7),
        (0, 1, 2, 3),
    ]
    assert scored_windows([], spec(4), EvalSettings()) == []


def test_picks_hold_both_classes_equally_and_every_video_of_a_class_in_turn() -> None:
    picks = balanced_picks([(0,), (1,), (1,), (1,), (1,)], 20, np.random.default_rng(0))
    assert np.bincount(picks, minlength=5).tolist()[0] == 10
    assert sorted(np.bincount(picks, minlength=5).tolist()[1:]) == [2, 2, 3, 3]


def test_picks_hold_corpora_equally_within_a_class_and_methods_within_a_corpus() -> None:
    strata = [(0, "a", "real")] * 2 + [(0, "b", "real")] * 6 + [(1, "a", "swap"), *[(1, "a", "mouth")] * 3]
    counts = np.bincount(balanced_picks(strata, 48, np.random.default_rng(0)), minlength=12).tolist()
    assert counts == [6, 6, 2, 2, 2, 2, 2, 2, 12, 4, 4, 4]


def test_strata_are_spread_evenly_over_an_epoch_in_random_order() -> None:
    strata = [("real",)] * 48 + [("swap",)] * 24 + [("mouth",)] * 24
    order = spread_evenly(strata, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(96))
    for batch in order.reshape(6, 16):
        reals = int(np.sum(batch < 48))
        assert 7 <= reals <= 9
    assert order.tolist() != spread_evenly(strata, np.random.default_rng(1)).tolist()


def test_an_epoch_is_a_function_of_seed_and_epoch_and_differs_from_the_next() -> None:
    tracks = [track({0: list(range(8)), 1: list(range(8))}, video=v) for v in range(6)]

    def plan(seed: int, epoch: int) -> list[tuple[object, ...]]:
        return train_windows(tracks, [(0,), (1,)] * 3, spec(2), windows_per_video=4, seed=seed, epoch=epoch)

    assert plan(0, 3) == plan(0, 3)
    assert plan(0, 3) != plan(0, 4)
    assert plan(0, 3) != plan(1, 3)
    assert len(plan(0, 3)) == 24


def test_so_many_frames_are_enough_however_long_another_track_is() -> None:
    tracks = [track({0: list(range(size))}, video=size) for size in (100, 20, 16, 15)]

    def scored(tracks: list[TrackFrames], enough_frames: int | None = None) -> list[int]:
        windows = scored_windows(tracks, spec(1), EvalSettings(max_windows=1), enough_frames=enough_frames)
        return [window.video for window in windows]

    assert scored(tracks) == [100]
    assert scored(tracks, enough_frames=16) == [100, 20, 16]
    assert scored(tracks[2:], enough_frames=16) == [16, 15]
