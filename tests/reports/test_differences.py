import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.errors import UserError
from deepfake.reports.compare import (
    ScoredVideos,
    compare,
    holm,
    labels,
    markdown,
    method_aurocs,
    write_comparison,
)
from deepfake.reports.runs import read_run
from deepfake.scoring.bootstrap import Resampling, paired_difference

WriteRun = Callable[..., Path]
HOW = Resampling(num=200)
LABELS = np.arange(40) % 2


def probs(seed: int, strength: float) -> np.ndarray:
    """Forty probs, better with strength."""
    noise = np.random.default_rng(seed).normal(size=40)
    return 1 / (1 + np.exp(-(strength * (2 * LABELS - 1) + noise)))


def scored(prob: np.ndarray, *, left_out: int = 0) -> list[tuple[str, int, float]]:
    return [(f"v{n:02}", int(LABELS[n]), float(p)) for n, p in enumerate(prob) if n >= left_out]


@pytest.fixture
def three(write_run: WriteRun) -> list[Path]:
    """A reference, a better run, and one that scored eight videos fewer."""
    return [
        write_run("a", test_auroc=0.7, scored=scored(probs(0, 0.4))),
        write_run("b", test_auroc=0.9, scored=scored(probs(1, 1.5))),
        write_run("c", test_auroc=0.8, scored=scored(probs(2, 1.0), left_out=8)),
    ]


def test_differences_are_those_of_the_videos_that_both_scored(three: list[Path], tmp_path: Path) -> None:
    comparison = compare([read_run(run) for run in three], how=HOW)
    expected = [
        paired_difference("auroc", probs(0, 0.4)[n:], other[n:], LABELS[n:], np.arange(40 - n), how=HOW)
        for other, n in ((probs(1, 1.5), 0), (probs(2, 1.0), 8))
    ]
    write_comparison(comparison, tmp_path, "compare")
    with (tmp_path / "compare.csv").open(newline="") as file:
        reference, *others = csv.DictReader(file)
    assert reference["difference"] == ""
    for row, found, common in zip(others, expected, (40, 32), strict=True):
        assert found is not None
        assert (float(row["difference"]), float(row["p"])) == (found.value, found.p)
        assert (float(row["difference_low"]), float(row["difference_high"])) == found.interval
        assert int(row["common_videos"]) == common
    told = markdown(comparison)
    assert "Reference: a. Differences of AUROC" in told
    assert "2 comparisons (Holm)" in told
    assert "of 40: c 32." in told


def test_people_are_drawn_together_where_all_are_known(write_run: WriteRun) -> None:
    people = [f"p{n // 4}" for n in range(40)]
    runs = [
        write_run(name, test_auroc=0.8, scored=scored(probs(seed, 0.8)), people=people)
        for seed, name in enumerate("ab")
    ]
    found = compare([read_run(run) for run in runs], how=HOW).rows[1]
    expected = paired_difference("auroc", probs(0, 0.8), probs(1, 0.8), LABELS, np.arange(40) // 4, how=HOW)
    assert expected is not None
    assert (found["difference_low"], found["difference_high"]) == expected.interval


def test_runs_on_other_videos_are_never_compared(write_run: WriteRun) -> None:
    runs = [
        write_run(name, test_auroc=0.7, protocol=protocol, scored=scored(probs(0, 0.5)))
        for name, protocol in (("a", "aaaa"), ("b", "bbbb"))
    ]
    comparison = compare([read_run(run) for run in runs], how=HOW)
    assert [row["difference"] for row in comparison.rows] == [None, None]
    assert comparison.references == {}
    assert "tested on different videos: compare within a table only" in markdown(comparison)


def test_any_run_can_be_the_reference_and_another_name_is_an_error(three: list[Path]) -> None:
    runs = [read_run(run) for run in three]
    first, second = compare(runs, how=HOW), compare(runs, reference="b", how=HOW)
    assert second.rows[0]["difference"] == pytest.approx(-first.rows[1]["difference"])
    assert second.rows[1]["difference"] is None
    with pytest.raises(UserError, match=r"reference=d: .*a, b, c"):
        compare(runs, reference="d")


def test_a_run_without_predictions_or_of_one_class_has_no_difference(write_run: WriteRun) -> None:
    fakes = [row for row in scored(probs(0, 1)) if row[1]]
    runs = [
        write_run("a", test_auroc=0.7, scored=scored(probs(0, 0.5))),
        write_run("b", test_auroc=0.7),
        write_run("c", test_auroc=0.7, scored=fakes),
        write_run("d"),
    ]
    rows = compare([read_run(run) for run in runs], how=HOW).rows
    assert [(row["difference"], row["common_videos"]) for row in rows] == [
        (None, None),
        (None, None),
        (None, 20),
        (None, None),
    ]


def test_an_evaluation_of_validation_stands_apart_from_the_tests(write_run: WriteRun) -> None:
    tested = write_run("a", test_auroc=0.7, scored=scored(probs(0, 0.5)))
    validated = write_run("b", config={"split": "val"}, test_auroc=0.7, scored=scored(probs(0, 0.5)))
    comparison = compare([read_run(tested), read_run(validated)], how=HOW)
    assert list(comparison.groups) == ["demo/official (aaaa)", "demo/official (aaaa), val split"]
    assert [row["difference"] for row in comparison.rows] == [None, None]


def test_a_run_that_was_killed_while_it_wrote_costs_no_table(three: list[Path]) -> None:
    (three[2] / "metrics.json").write_text('{"test/video_au')
    rows = compare([read_run(run) for run in three], how=HOW).rows
    assert [row["difference"] is None for row in rows] == [True, False, True]


def test_runs_with_the_same_values_keep_names_of_their_own() -> None:
    rows = [{"run": "monday", "m.lr": 1}, {"run": "tuesday", "m.lr": 1}, {"run": "last", "m.lr": 2}]
    assert labels(rows, ["m.lr"]) == ["lr 1, monday", "lr 1, tuesday", "lr 2"]
    assert labels(rows[:1], []) == ["monday"]


def test_methods_of_several_corpora_are_told_apart() -> None:
    rows = [
        {"corpus": "a", "method": "", "auroc": "0.9", "auroc_low": "", "auroc_high": ""},
        {"corpus": "a", "method": "swap", "auroc": "0.8", "auroc_low": "0.7", "auroc_high": "0.9"},
        {"corpus": "b", "method": "swap", "auroc": "", "auroc_low": "", "auroc_high": ""},
    ]
    videos = ScoredVideos({}, {}, rows, {}, 0.5)
    assert method_aurocs(videos, several=True) == {"a, swap": (0.8, (0.7, 0.9))}
    assert method_aurocs(videos, several=False) == {"swap": (0.8, (0.7, 0.9))}


def test_holm_s_correction_is_that_of_his_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_opens_without_errors_or_requests(
    three: list[Path], write_run: WriteRun, tmp_path: Path, look: Callable[..., Any], width: int
) -> None:
    failed = write_run("f", status={"status": "failed", "error": "no space left"})
    for run, value in zip(three, (0.7, 0.8, 0.9), strict=True):
        lines = ["corpus,method,auroc,auroc_low,auroc_high", f"a,swap,{value},0.6,1"]
        (run / "groups.csv").write_text("\n".join(lines))
    write_comparison(compare([read_run(run) for run in [*three, failed]], how=HOW), tmp_path, "compare")
    seen = look(tmp_path / "compare.html", width=width)
    assert (seen.errors, seen.requests, seen.too_wide_px) == ([], [], 0)
    assert seen.headings == ("4 runs", "demo/official (aaaa)")
    assert {path.name for path in tmp_path.glob("compare_*.png")} == {
        f"compare_{plot}.png" for plot in ("roc", "reliability", "methods")
    }
