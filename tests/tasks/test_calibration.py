"""What validation fits, and that nothing of the test gets into it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig

from deepfake.scoring.aggregate import WindowScores
from deepfake.scoring.decision import Decision, fitted
from deepfake.tasks import evaluate, predict, train
from deepfake.training.checkpoint import read_checkpoint

Composed = Callable[..., DictConfig]
FAST = ("trainer=cpu", "data.windows_per_video=1", "data.eval_windows=3", "faces.num_clips=2")
SMALL = (
    "model.image_size=64",
    "trainer.max_epochs=1",
    "data.num_workers=0",
    "data.batch_size=8",
    "resamples=50",
)


def table_of(trained: Path, videos: Path, *, permute: bool) -> str:
    """The demo videos as rows of a table; permute: the labels of the test videos are dealt anew."""
    with (trained / "protocol.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"]]
    tested = [row for row in rows if row["split"] == "test"]
    labels = [row["label"] for row in tested]
    for row, label in zip(tested, labels[1:] + labels[:1], strict=True):
        row["label"] = label if permute else row["label"]
    lines = [f"{videos / row['video']}.mp4,{row['label']},{row['split']}" for row in rows]
    return "\n".join(["path,label,split", *lines]) + "\n"


def test_permuted_test_labels_change_neither_threshold_nor_temperature(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    videos = Path(tiny_demo[0].partition("=")[2])
    decisions, scored = [], []
    for permute in (False, True):
        run_dir, table = tmp_path / f"run_{permute}", tmp_path / f"{permute}.csv"
        run_dir.mkdir()
        table.write_text(table_of(trained, videos, permute=permute))
        store = f"data.store={tmp_path / 'store'}"
        train.main(
            composed("train", "data=csv", f"data.root={table}", store, *FAST, *SMALL, "resamples=50"), run_dir
        )
        decisions.append(read_checkpoint(run_dir / "checkpoints" / "best.ckpt").decision)
        scored.append(json.loads((run_dir / "metrics.json").read_text()))
    assert decisions[0] == decisions[1]
    assert decisions[0].threshold != 0.5 or decisions[0].temperature != 1
    assert scored[0]["test/video_auroc"] != scored[1]["test/video_auroc"]
    assert [metrics["test/threshold"] for metrics in scored] == [decisions[0].threshold] * 2


def test_the_checkpoint_holds_what_fitting_its_own_validation_scores_gives(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    evaluate.main(
        composed("evaluate", f"checkpoint='{checkpoint}'", "trainer=cpu", "split=val", *tiny_demo), tmp_path
    )
    with (tmp_path / "predictions.csv").open(newline="") as file:
        label = {row["video"]: int(row["label"]) for row in csv.DictReader(file)}
    table = pq.read_table(tmp_path / "scores.parquet").to_pydict()
    keys = sorted(label)
    scores = WindowScores(
        np.array([keys.index(video) for video in table["video"]]),
        *(np.array(table[name]) for name in ("track", "start", "logit", "frames")),
    )
    expected = fitted(Decision(), scores, {place: label[key] for place, key in enumerate(keys)})
    found = read_checkpoint(checkpoint).decision
    assert found.threshold == pytest.approx(expected.threshold, abs=1e-6)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-3)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["val/video_log_loss_calibrated"] <= metrics["val/video_log_loss"] + 1e-9


def test_rules_of_the_command_win_over_the_checkpoint_s_in_prediction(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    video = min(Path(tiny_demo[0].partition("=")[2]).rglob("*.mp4"))
    given = (f"checkpoint='{trained}/checkpoints/best.ckpt'", f"input='{video}'")
    predict.main(composed("predict", *given, "window_rule=max", "undetermined_margin=1"), tmp_path)
    (file,) = json.loads((tmp_path / "predictions.json").read_text())["files"]
    assert file["prob"] == max(window["prob"] for track in file["tracks"] for window in track["windows"])
    assert file["verdict"] == "undetermined"
