from collections.abc import Callable, Sequence

import numpy as np
import pytest

from deepfake.scoring.aggregate import (
    TOP_K,
    TrackRule,
    WindowRule,
    WindowScores,
    by_all_rules,
    score_frames,
    score_tracks,
    score_videos,
)

Row = tuple[int, int, int, float]
Scored = Callable[[Sequence[Row]], WindowScores]
ROWS = [(3, 0, 0, 0.2), (3, 0, 8, 0.4), (3, 1, 0, 0.9), (5, 0, 0, 0.5), (3, 2, 0, 0.1)]


def test_a_track_is_the_mean_prob_of_its_windows(scored: Scored) -> None:
    tracks = score_tracks(scored(ROWS))
    assert tracks.video.tolist() == [3, 3, 3, 5]
    assert tracks.prob.tolist() == pytest.approx([0.3, 0.9, 0.1, 0.5], abs=1e-12)
    assert tracks.windows.tolist() == tracks.frames.tolist() == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean", (0.1 + 0.2 + 0.3 + 0.6 + 0.7 + 0.9 + 0.9) / 7),
        ("median", 0.6),
        ("max", 0.9),
        ("top_k", (0.3 + 0.6 + 0.7 + 0.9 + 0.9) / TOP_K),
        ("share", 4 / 7),
        ("mean_logit", 0.5518907),
    ],
)
def test_windows_join_by_the_rule(scored: Scored, rule: WindowRule, expected: float) -> None:
    probs = [0.6, 0.1, 0.9, 0.2, 0.9, 0.3, 0.7]
    rows = [(0, 0, start, prob) for start, prob in enumerate(probs)]
    if rule == "mean_logit":  # by hand: odds multiply, the seventh root is the joint one's odds
        odds = np.prod([p / (1 - p) for p in probs]) ** (1 / 7)
        expected = odds / (1 + odds)
    assert score_tracks(scored(rows), rule=rule).prob.tolist() == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize(
    ("probs", "expected"), [([0.2, 0.8], 0.5), ([0.4], 0.4), ([0.1, 0.3, 0.4, 0.9], 0.35)]
)
def test_the_median_of_an_even_number_lies_between_the_middle_ones(
    scored: Scored, probs: list[float], expected: float
) -> None:
    rows = [(0, 0, start, prob) for start, prob in enumerate(probs)]
    assert score_videos(scored(rows), window_rule="median") == pytest.approx({0: expected}, abs=1e-12)


def test_the_k_largest_of_fewer_windows_are_all(scored: Scored) -> None:
    assert score_videos(scored([(0, 0, 0, 0.2), (0, 0, 1, 0.6)]), window_rule="top_k") == pytest.approx(
        {0: 0.4}
    )


@pytest.mark.parametrize(
    ("rule", "expected"), [("max", 0.9), ("mean", 1.3 / 3), ("main", 0.3), ("longest", 0.3)]
)
def test_a_video_joins_its_tracks_by_the_rule(scored: Scored, rule: TrackRule, expected: float) -> None:
    assert score_videos(scored(ROWS), track_rule=rule) == pytest.approx({3: expected, 5: 0.5})


def test_the_longest_track_is_the_one_on_most_frames_whatever_its_windows(scored: Scored) -> None:
    # track 1: two windows over frames 0 to 2; track 0: three windows, all of frames 0 and 1
    starts = np.array([0, 0, 0, 0, 1])
    scores = WindowScores(
        video=np.zeros(5, np.int64),
        track=np.array([0, 0, 0, 1, 1]),
        start=np.array([0, 1, 2, 0, 1]),
        logit=np.array([-2.0, -2, -2, 2, 2]),
        frame=np.stack([starts, starts + 1], axis=1),
    )
    assert score_tracks(scores).frames.tolist() == [2, 3]
    assert score_videos(scores, track_rule="longest")[0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert score_videos(scored(ROWS[2:3] + ROWS[4:]), track_rule="longest") == pytest.approx({3: 0.9})


def test_a_frame_has_the_mean_prob_of_the_windows_that_show_it() -> None:
    logit = np.log([0.2 / 0.8, 0.6 / 0.4])
    keys = np.zeros(2, np.int64)
    frame = np.array([[0, 1], [1, 1]])  # the second window repeats its only frame
    video, prob = score_frames(WindowScores(keys, keys, np.array([0, 1]), logit, frame))
    assert video.tolist() == [0, 0]
    assert prob.tolist() == pytest.approx([0.2, 0.4], abs=1e-12)


def test_order_and_duplicates_change_nothing(scored: Scored) -> None:
    rng = np.random.default_rng(0)
    shuffled = [ROWS[i] for i in rng.permutation(len(ROWS))] + [ROWS[0], ROWS[2]]
    assert list(by_all_rules(scored(shuffled))) == list(by_all_rules(scored(ROWS)))


def test_nothing_scored_gives_no_video(scored: Scored) -> None:
    for scores in (scored([]), WindowScores.empty()):
        assert [videos for _, _, videos in by_all_rules(scores)] == [{}] * 24
        assert len(score_frames(scores)[1]) == 0
