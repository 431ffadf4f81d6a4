from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake.reports.runs import Status, find_runs, read_history, read_run, varying_keys

WriteRun = Callable[..., Path]


@pytest.mark.parametrize(
    ("monitor", "values", "epoch", "best"),
    [
        ("val/loss", (0.5, 0.3, 0.3, 0.4), 1, 0.3),  # of a tie the first, as the checkpoint is
        ("val/video_auroc", (0.5, "nan", 0.9, 0.9), 2, 0.9),
        ("val/video_eer", (0.5, 0.1, 0.2), 1, 0.1),
        ("val/loss", (), None, None),
        ("val/loss", ("nan",), None, None),
    ],
)
def test_the_best_epoch_is_the_first_one_with_the_best_monitored_value(
    write_run: WriteRun, monitor: str, values: tuple[float, ...], epoch: int | None, best: float | None
) -> None:
    run = read_run(write_run("a", monitor=monitor, values=values))
    assert (run.best_epoch, run.metric(monitor)) == (epoch, best)


def test_validation_is_read_at_the_best_epoch_and_test_from_metrics_json(write_run: WriteRun) -> None:
    run = read_run(write_run("a", values=(0.5, 0.3, 0.4), test_auroc=0.8))
    assert run.metric("val/video_auroc2") == 0.51
    assert run.metric("test/video_auroc") == 0.8
    assert run.metric("test/video_eer") is None
    assert (run.protocol, run.protocol_hash) == ("demo/official", "aaaa")


def test_a_resumed_run_has_one_history_in_which_the_later_log_counts(tmp_path: Path) -> None:
    logs = [tmp_path / "0.csv", tmp_path / "1.csv"]
    logs[0].write_text("epoch,step,val/loss,train/loss\n0,3,0.5,\n0,3,,0.7\n1,6,0.4,\n")
    logs[1].write_text("epoch,step,val/loss\n1,6,0.3\n2,9,0.2\n")
    assert read_history(logs) == {"val/loss": {0: 0.5, 1: 0.3, 2: 0.2}, "train/loss": {0: 0.7}}


def test_runs_are_found_at_and_below_a_folder_in_the_order_of_their_numbers(write_run: WriteRun) -> None:
    runs = [write_run(f"sweep/{number}_x") for number in (10, 2, 1)]
    assert [run.name for run in find_runs(runs[0].parent)] == ["1_x", "2_x", "10_x"]
    assert find_runs(runs[0]) == [runs[0]]
    assert find_runs(runs[0] / ".hydra") == []


def test_a_killed_run_is_running_still_and_one_from_before_statuses_is_judged_by_its_metrics(
    write_run: WriteRun,
) -> None:
    noted = {"status": "failed", "seconds": 2.5, "error": "no", "value": None}
    assert read_run(write_run("a", status=noted)).status == Status(status="failed", seconds=2.5, error="no")
    assert read_run(write_run("b", status={"status": "running"})).status.status == "running"
    assert read_run(write_run("c")).status.status == "running"
    assert read_run(write_run("d", test_auroc=0.5)).status.status == "done"


def test_keys_vary_if_a_command_set_them_and_their_values_differ(write_run: WriteRun) -> None:
    model = {"choices": {"model": "meso"}}
    runs = [
        write_run("a", overrides=("model=meso", "seed=0", "x.y=1e-3"), config={"x": {"y": 0.001}}, **model),
        write_run("b", overrides=("seed=0", "+x.y=0.001"), config={"x": {"y": 0.001}}, **model),
        write_run("c", overrides=("seed=0",), config={"x": {"y": 2}, "z": 3}, choices={"model": "meso_lstm"}),
    ]
    read = [read_run(run) for run in runs]
    assert varying_keys(read) == ["model", "x.y"]
    assert varying_keys(read[:2]) == []
    assert [run.setting("x.y") for run in read] == [0.001, 0.001, 2]
    assert [run.setting("model") for run in read] == ["meso", "meso", "meso_lstm"]
