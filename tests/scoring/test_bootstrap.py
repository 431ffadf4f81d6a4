import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from deepfake.scoring.aggregate import WINDOW_RULES, WindowRule, WindowScores, score_tracks
from deepfake.scoring.bootstrap import MIN_UNITS, Resampling, intervals, paired_difference, window_interval
from deepfake.scoring.metrics import RATES


def drawn(seed: int, *, each: int = 60, distance: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probs of as many reals as fakes, normal in the logit, and labels."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], each)
    return 1 / (1 + np.exp(-rng.normal(distance * label, 1))), label


def test_an_interval_is_that_of_resamples_drawn_one_by_one() -> None:
    prob, label = drawn(0, each=20)
    unit = np.arange(40) // 2  # two videos a person
    how = Resampling(num=50, seed=3)
    values = []
    for counts in how.counts(20):
        for column in counts.T:
            rows = np.repeat(np.arange(40), column[unit].astype(int))
            values.append(roc_auc_score(label[rows], prob[rows]))
    found = intervals(prob, label, unit, threshold=0.5, how=how)
    assert list(found) == list(RATES)
    assert found["auroc"] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)


def test_resamples_draw_as_many_units_as_there_are_and_follow_the_seed() -> None:
    blocks = np.concatenate(list(Resampling(num=100, seed=1).counts(7)), axis=1)
    assert blocks.shape == (7, 100)
    assert set(blocks.sum(axis=0)) == {7}
    assert blocks.mean() == 1
    again = np.concatenate(list(Resampling(num=100, seed=1).counts(7)), axis=1)
    other = np.concatenate(list(Resampling(num=100, seed=2).counts(7)), axis=1)
    assert np.array_equal(blocks, again)
    assert not np.array_equal(blocks, other)


def test_order_changes_no_interval_and_many_videos_of_one_person_widen_it() -> None:
    prob, label = drawn(1)
    video, order = np.arange(120), np.random.default_rng(0).permutation(120)
    one = intervals(prob, label, video, threshold=0.5)
    assert intervals(prob[order], label[order], video[order], threshold=0.5) == one
    # the same four times over: four times the videos, no more people
    tiled = intervals(np.tile(prob, 4), np.tile(label, 4), np.tile(video, 4), threshold=0.5)
    assert tiled["auroc"] == pytest.approx(one["auroc"], abs=1e-12)  # type: ignore[arg-type]
    naive = intervals(np.tile(prob, 4), np.tile(label, 4), np.arange(480), threshold=0.5)
    assert naive["auroc"][1] - naive["auroc"][0] < 0.6 * (one["auroc"][1] - one["auroc"][0])  # type: ignore[index]


def test_few_units_or_one_class_have_no_interval() -> None:
    prob, label = drawn(2, each=2)
    assert set(intervals(prob, label, np.arange(4) % (MIN_UNITS - 1), threshold=0.5).values()) == {None}
    one = intervals(np.linspace(0, 1, 9), np.ones(9, int), np.arange(9), threshold=0.5)
    assert one["auroc"] is None
    assert one["accuracy"] is not None


def test_a_better_detector_differs_surely_and_one_from_itself_not_at_all() -> None:
    weak, label = drawn(4, distance=0.5)
    strong = weak * 0.5 + 0.5 * label
    video = np.arange(120)
    found = paired_difference("auroc", weak, strong, label, video)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(label, strong) - roc_auc_score(label, weak), abs=1e-12)
    assert found.interval[0] > 0
    assert found.p == 1 / 2000
    same = paired_difference("auroc", weak, weak, label, video)
    assert same is not None
    assert (same.value, same.interval, same.p) == (0.0, (0.0, 0.0), 1.0)
    assert paired_difference("auroc", weak, strong, label * 0, video) is None


def test_a_paired_difference_is_surer_than_two_intervals_side_by_side() -> None:
    first, label = drawn(5)
    second = np.clip(first + np.random.default_rng(0).normal(0, 0.02, 120), 0, 1)
    video = np.arange(120)
    paired = paired_difference("auroc", first, second, label, video)
    alone = intervals(first, label, video, threshold=0.5)["auroc"]
    assert paired is not None
    assert alone is not None
    assert paired.interval[1] - paired.interval[0] < 0.5 * (alone[1] - alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("each", [60, 100])
def test_the_interval_covers_the_true_auroc_in_about_19_of_20_sets(each: int) -> None:
    truth = norm.cdf(1 / np.sqrt(2))
    inside = 0
    for seed in range(400):
        prob, label = drawn(1000 + seed, each=each)
        low, high = intervals(prob, label, np.arange(2 * each), threshold=0.5)["auroc"]  # type: ignore[misc]
        inside += low <= truth <= high
    assert 0.93 <= inside / 400 <= 0.97


@pytest.mark.parametrize("rule", WINDOW_RULES)
@pytest.mark.parametrize("overlap", [1, 3])
def test_a_track_s_interval_is_that_of_windows_drawn_and_joined_one_by_one(
    rule: WindowRule, overlap: int
) -> None:
    logit, how = np.random.default_rng(0).normal(size=8), Resampling(num=60, seed=5)
    rng = np.random.default_rng(5)
    first = rng.integers(8, size=(60, -(-8 // overlap), 1))[..., 0]
    values = []
    for starts in first:
        drawn = [(start + step) % 8 for start in starts.tolist() for step in range(overlap)][:8]
        place = np.arange(8)
        scores = WindowScores(0 * place, 0 * place, place, logit[drawn], place[:, None])
        values.append(score_tracks(scores, rule=rule).prob[0])
    expected = np.quantile(values, [0.025, 0.975])
    assert window_interval(logit, rule, overlap=overlap, how=how) == pytest.approx(expected, abs=1e-12)


def test_a_track_s_interval_needs_windows_that_share_nothing() -> None:
    logit = np.array([0.0, 1.0, 2.0])
    assert window_interval(logit[:1], "mean") is None
    assert window_interval(logit, "mean", overlap=3) is None
    assert window_interval(logit, "mean") == window_interval(logit, "mean")
    assert window_interval(np.full(5, 2.0), "mean") == pytest.approx([1 / (1 + np.exp(-2))] * 2)


def test_many_windows_are_drawn_in_parts_to_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    logit = np.random.default_rng(1).normal(size=50)
    whole = window_interval(logit, "mean", how=Resampling(num=40))
    monkeypatch.setattr("deepfake.scoring.bootstrap.DRAWN_AT_ONCE", 700)
    assert window_interval(logit, "mean", how=Resampling(num=40)) == whole
