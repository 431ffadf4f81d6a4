import numpy as np
import pytest

from deepfake.video.sampling import clip_indices, key_frame_clips, nearest, timed_clip_indices


def test_clips_are_evenly_spread_from_the_first_frame_to_the_last() -> None:
    clips = clip_indices(30, num_clips=3, clip_frames=4)
    assert [clip.tolist() for clip in clips] == [[0, 1, 2, 3], [13, 14, 15, 16], [26, 27, 28, 29]]


def test_a_single_clip_sits_in_the_middle() -> None:
    assert [clip.tolist() for clip in clip_indices(10, num_clips=1, clip_frames=4)] == [[3, 4, 5, 6]]


@pytest.mark.parametrize("num_frames", range(1, 60))
def test_clips_never_overlap_nor_leave_the_video(num_frames: int) -> None:
    clips = clip_indices(num_frames, num_clips=5, clip_frames=8)
    frames = np.concatenate(clips)
    assert (np.diff(frames) > 0).all()
    assert frames[0] >= 0
    assert frames[-1] < num_frames
    assert len(clips) == max(1, min(5, num_frames // 8))
    assert {len(clip) for clip in clips} == {min(8, num_frames)}


def test_nearest_takes_the_earlier_of_two_equally_near_frames() -> None:
    assert nearest(np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.5, 0.6, 9.0])).tolist() == [0, 0, 1, 2]
    assert nearest(np.array([0.0]), np.array([5.0])).tolist() == [0]


def test_videos_of_25_and_60_fps_give_clips_of_equal_times() -> None:
    for fps in (25, 60):
        times = np.arange(10 * fps) / fps
        clips = timed_clip_indices(times, num_clips=4, clip_frames=8, sample_fps=12.5)
        assert [len(clip) for clip in clips] == [8] * 4
        for clip in clips:
            assert times[clip] - times[clip[0]] == pytest.approx(np.arange(8) / 12.5, abs=1 / fps)


@pytest.mark.parametrize("fps", [24, 25, 30000 / 1001, 60])
def test_a_video_of_the_rate_asked_gives_clips_of_adjacent_frames(fps: float) -> None:
    for num_frames in range(1, 120):
        times = np.arange(num_frames) / fps
        clips = timed_clip_indices(times, num_clips=4, clip_frames=8, sample_fps=fps)
        assert [np.diff(clip).tolist() for clip in clips] == [[1] * (min(8, num_frames) - 1)] * len(clips)
        assert len(clips) == max(1, min(4, num_frames // 8))
        assert len(clips) == 1 or (clips[0][0], clips[-1][-1]) == (0, num_frames - 1)


def test_a_clip_at_the_end_of_an_uneven_video_is_not_cut_short() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        times = np.sort(rng.choice(np.arange(800), 400, replace=False)) / 50
        clips = timed_clip_indices(times, num_clips=3, clip_frames=16, sample_fps=25)
        assert [len(clip) for clip in clips] == [16, 16, 16]


def test_a_video_slower_than_asked_gives_its_frames_one_by_one() -> None:
    clips = timed_clip_indices(np.arange(40) / 10, num_clips=2, clip_frames=5, sample_fps=30)
    assert [np.diff(clip).tolist() for clip in clips] == [[1] * 4] * len(clips)


@pytest.mark.parametrize("seed", range(20))
def test_timed_clips_of_any_frame_rate_ascend_without_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.005, 0.2, rng.integers(1, 200)))
    frames = np.concatenate(timed_clip_indices(times, num_clips=6, clip_frames=5, sample_fps=20))
    assert (np.diff(frames) > 0).all()
    assert frames[0] >= 0
    assert frames[-1] < len(times)


def test_every_frame_is_taken_in_clips_one_right_after_the_other() -> None:
    clips = clip_indices(10, num_clips=None, clip_frames=4)
    assert [clip.tolist() for clip in clips] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [clip.tolist() for clip in clip_indices(3, num_clips=None, clip_frames=4)] == [[0, 1, 2]]


def test_the_whole_video_at_a_slower_rate_is_taken_in_such_clips_too() -> None:
    clips = timed_clip_indices(np.arange(20) / 20, num_clips=None, clip_frames=4, sample_fps=10)
    assert [clip.tolist() for clip in clips] == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]]


def test_clips_at_key_frames_take_one_of_each_part_of_the_video() -> None:
    keys = np.array([0, 250, 500, 750])
    clips = key_frame_clips(751, keys, num_clips=4, clip_frames=8)
    assert [clip[0] for clip in clips] == [0, 250, 500, 563]  # 750 leaves no room
    assert [clip.tolist() for clip in key_frame_clips(10, keys, num_clips=1, clip_frames=4)] == [[3, 4, 5, 6]]


@pytest.mark.parametrize("seed", range(20))
def test_clips_at_key_frames_are_as_many_ascend_without_overlap_and_stay_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_frames = int(rng.integers(1, 200))
    keys = np.flatnonzero(rng.random(num_frames) < 0.1)
    clips = key_frame_clips(num_frames, keys, num_clips=4, clip_frames=8)
    even = clip_indices(num_frames, num_clips=4, clip_frames=8)
    assert [len(clip) for clip in clips] == [len(clip) for clip in even]
    assert (np.diff(np.concatenate(clips)) > 0).all()
    assert clips[0][0] >= 0
    assert clips[-1][-1] < num_frames
