import csv
from collections.abc import Callable
from pathlib import Path

from deepfake.reports.compare import compare, markdown, plotted_key, points, write_comparison
from deepfake.reports.runs import read_run

WriteRun = Callable[..., Path]


def windows(write_run: WriteRun, *pairs: tuple[int, int, float]) -> list[Path]:
    return [
        write_run(
            f"{number}_w",
            overrides=(f"model.window={window}", f"seed={seed}"),
            config={"model": {"window": window}, "seed": seed},
            status={"status": "done", "seconds": 1.5},
            values=(0.5, 0.25),
            test_auroc=auroc,
        )
        for number, (window, seed, auroc) in enumerate(pairs)
    ]


def test_a_row_holds_a_run_s_values_and_a_failed_run_is_a_row_too(
    write_run: WriteRun, tmp_path: Path
) -> None:
    runs = windows(write_run, (1, 0, 0.75))
    failed = {"status": "failed", "seconds": 0.5, "error": "a | b"}
    runs.append(
        write_run("1_w", overrides=("model.window=2",), config={"model": {"window": 2}}, status=failed)
    )
    write_comparison(compare([read_run(run) for run in runs]), tmp_path, "sweep")
    with (tmp_path / "sweep.csv").open(newline="") as file:
        good, bad = csv.DictReader(file)
    names = ("run", "model.window", "status", "best_epoch", "best", "test/video_auroc", "seconds", "error")
    assert [good[name] for name in names] == ["0_w", "1", "done", "1", "0.25", "0.75", "1.5", ""]
    assert [bad[name] for name in names] == ["1_w", "2", "failed", "", "", "", "0.5", "a | b"]
    assert good["overrides"] == "model.window=1 seed=0"
    lines = (tmp_path / "sweep.md").read_text().splitlines()
    assert "## demo/official (aaaa)" in lines
    assert [line for line in lines if line.startswith("| 0_w |")] == [
        "| 0_w | 1 | 0 | 0.75 | done | 1 | 0.25 | 1.5 |"
    ]
    assert lines[-1] == "- 1_w: a | b"


def test_runs_that_were_tested_on_different_videos_stand_under_different_headings(
    write_run: WriteRun,
) -> None:
    runs = [
        read_run(write_run(name, test_auroc=auroc, protocol=protocol))
        for name, auroc, protocol in (("a", 0.5, "aaaa"), ("b", 0.6, "bbbb"), ("c", 0.7, "aaaa"))
    ]
    runs.append(read_run(write_run("d")))
    comparison = compare(runs)
    assert {heading: [row["run"] for row in rows] for heading, rows in comparison.groups.items()} == {
        "demo/official (aaaa)": ["a", "c"],
        "demo/official (bbbb)": ["b"],
        "no protocol: ended before the videos were known": ["d"],
    }
    assert "tested on different videos: compare within a table only" in markdown(comparison)
    assert "tested on different videos" not in markdown(compare([runs[0], runs[2], runs[3]]))


def test_one_numeric_key_is_plotted_with_all_its_seeds(write_run: WriteRun, tmp_path: Path) -> None:
    runs = windows(write_run, (16, 0, 0.9), (1, 0, 0.5), (1, 1, 0.7))
    comparison = compare([read_run(run) for run in runs])
    assert comparison.keys == ["model.window", "seed"]
    assert plotted_key(comparison) == "model.window"
    assert points(comparison, "model.window") == {
        "demo/official (aaaa)": {16.0: [(0.9, None)], 1.0: [(0.5, None), (0.7, None)]}
    }
    write_comparison(comparison, tmp_path, "compare")
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_is_plotted_over_seeds_alone_or_over_words_or_two_keys(
    write_run: WriteRun, tmp_path: Path
) -> None:
    runs = [read_run(run) for run in windows(write_run, (1, 0, 0.5), (1, 1, 0.7), (2, 0, 0.7))]
    runs += [
        read_run(
            write_run(
                f"s{x}{word}",
                overrides=("x=1", "word=a"),
                config={"x": x, "word": word, "model": {"window": 1}, "seed": 0},
                test_auroc=0.5,
            )
        )
        for x, word in ((1, "a"), (1, "b"), (2, "a"))
    ]
    assert plotted_key(compare(runs[:2])) is None
    assert plotted_key(compare(runs[3:5])) is None
    assert plotted_key(compare(runs[3:])) is None
    assert plotted_key(compare([runs[3], runs[5]])) == "x"
    assert plotted_key(compare(runs)) is None
    write_comparison(compare(runs[:2]), tmp_path, "compare")
    assert not (tmp_path / "compare.png").exists()
