import numpy as np
import pytest

from deepfake.scoring.aggregate import WindowScores, score_tracks, score_videos, verdict


def scores(rows: list[tuple[int, int, int, float]]) -> WindowScores:
    """Rows of video, track, start, prob."""
    video, track, start = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    prob = np.array([row[3] for row in rows])
    return WindowScores(video, track, start, np.log(prob / (1 - prob)))


ROWS = [(3, 0, 0, 0.2), (3, 0, 8, 0.4), (3, 1, 0, 0.9), (5, 0, 0, 0.5), (3, 2, 0, 0.1)]


def test_a_track_is_the_mean_prob_of_its_windows() -> None:
    tracks = score_tracks(scores(ROWS))
    assert tracks.video.tolist() == [3, 3, 3, 5]
    assert tracks.prob.tolist() == pytest.approx([0.3, 0.9, 0.1, 0.5], abs=1e-12)
    assert tracks.windows.tolist() == [2, 1, 1, 1]


@pytest.mark.parametrize(("rule", "expected"), [("max", 0.9), ("mean", 1.3 / 3), ("main", 0.3)])
def test_a_video_joins_its_tracks_by_the_rule(rule: str, expected: float) -> None:
    assert score_videos(scores(ROWS), rule=rule) == pytest.approx({3: expected, 5: 0.5})  # type: ignore[arg-type]


def test_order_and_duplicates_change_nothing() -> None:
    rng = np.random.default_rng(0)
    shuffled = [ROWS[i] for i in rng.permutation(len(ROWS))] + [ROWS[0], ROWS[2]]
    assert score_videos(scores(shuffled)) == score_videos(scores(ROWS))


def test_nothing_scored_gives_no_video() -> None:
    assert score_videos(scores([])) == {}


@pytest.mark.parametrize(("prob", "word"), [(0.6, "fake"), (0.59, "real"), (None, "undetermined")])
def test_a_verdict_is_fake_from_the_threshold_on(prob: float | None, word: str) -> None:
    assert verdict(prob, 0.6) == word
