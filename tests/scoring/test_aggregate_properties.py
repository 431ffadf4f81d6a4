"""What holds of probs over any windows: order and duplicates are nothing, more fake is never less."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.scoring.aggregate import WindowScores, by_all_rules, score_frames, sigmoid
from deepfake.scoring.decision import Decision, to_logit

LOGITS = st.floats(-30, 30)


@st.composite
def window_scores(draw: st.DrawFn) -> WindowScores:
    """Windows of three frames of some tracks of some videos, in any order, each key once."""
    keys = st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 30))
    rows = draw(st.dictionaries(keys, LOGITS, min_size=1, max_size=25))
    video, track, start = np.array(draw(st.permutations(sorted(rows)))).T
    ordered = zip(video.tolist(), track.tolist(), start.tolist(), strict=True)
    logit = np.array([rows[key] for key in ordered])
    return WindowScores(video, track, start, logit, start[:, None] + np.arange(3))


def taken(scores: WindowScores, places: np.ndarray) -> WindowScores:
    columns = (scores.video, scores.track, scores.start, scores.logit, scores.frame)
    return WindowScores(*(column[places] for column in columns))


@given(scores=window_scores(), seed=st.integers(0, 99))
def test_order_and_duplicates_change_no_prob_by_any_rule(scores: WindowScores, seed: int) -> None:
    places = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(scores)), 2))
    other = taken(scores, places)
    assert list(by_all_rules(other)) == list(by_all_rules(scores))
    for mine, theirs in zip(score_frames(scores), score_frames(other), strict=True):
        assert mine.tolist() == theirs.tolist()


@given(scores=window_scores())
def test_a_video_s_prob_lies_among_its_windows(scores: WindowScores) -> None:
    for window_rule, _, probs in by_all_rules(scores):
        assert set(probs) == set(scores.video.tolist())
        for video, prob in probs.items():
            own = scores.prob[scores.video == video]
            low, high = (0, 1) if window_rule == "share" else (own.min(), own.max())
            assert low - 1e-12 <= prob <= high + 1e-12
    video, prob = score_frames(scores)
    for which in set(video.tolist()):
        own = scores.prob[scores.video == which]
        assert own.min() - 1e-12 <= prob[video == which].min()
        assert prob[video == which].max() <= own.max() + 1e-12


@given(scores=window_scores(), data=st.data(), more=st.floats(0, 20))
def test_a_window_that_looks_more_fake_lowers_no_prob(
    scores: WindowScores, data: st.DataObject, more: float
) -> None:
    which = data.draw(st.integers(0, len(scores) - 1))
    raised = replace(scores, logit=scores.logit + more * (np.arange(len(scores)) == which))
    for (*rules, before), (*_, after) in zip(by_all_rules(scores), by_all_rules(raised), strict=True):
        for video, prob in before.items():
            assert after[video] >= prob - 1e-12, rules
            assert video == scores.video[which] or after[video] == prob, rules


@given(scores=window_scores(), one=LOGITS)
def test_windows_that_agree_give_their_prob_by_every_rule_but_share(scores: WindowScores, one: float) -> None:
    agreeing = replace(scores, logit=np.full(len(scores), one))
    for window_rule, _, probs in by_all_rules(agreeing):
        prob = float(sigmoid(np.array(one)))
        expected = float(prob >= 0.5) if window_rule == "share" else prob
        assert list(probs.values()) == pytest.approx([expected] * len(probs), abs=1e-12)


@given(logit=LOGITS)
def test_probs_of_opposite_logits_are_opposite_and_logits_come_back(logit: float) -> None:
    prob = sigmoid(np.array([logit, -logit]))
    assert prob.sum() == pytest.approx(1, abs=1e-15)
    assert float(to_logit(prob)[int(logit > 0)]) == pytest.approx(-abs(logit), abs=1e-9)


@given(
    probs=st.lists(st.floats(0, 1), min_size=1, max_size=20),
    threshold=st.floats(0.01, 0.99),
    temperature=st.floats(0.5, 10),
)
def test_a_temperature_moves_no_video_past_another_or_past_the_threshold(
    probs: list[float], threshold: float, temperature: float
) -> None:
    raw = Decision(threshold=threshold)
    warm = replace(raw, temperature=temperature, calibrate=True)
    stated = warm.stated(probs)
    assert ((stated >= 0) & (stated <= 1)).all()
    order = np.argsort(probs, kind="stable")
    assert (np.diff(stated[order]) >= 0).all()
    for prob, told in zip(probs, stated.tolist(), strict=True):
        if abs(prob - threshold) > 1e-9:
            assert warm.verdict(told) == raw.verdict(prob)
    assert warm.cut_at(warm.cut).cut == pytest.approx(warm.cut, abs=1e-9)
