"""Evaluation and prediction give one video one probability, since both score the same windows alike."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from deepfake.tasks import evaluate, predict


def test_the_test_split_gets_the_same_probabilities_to_the_last_digit(
    composed: Callable[..., DictConfig], tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "predict").mkdir()
    checkpoint = f"checkpoint='{trained}/checkpoints/best.ckpt'"
    evaluate.main(composed("evaluate", checkpoint, *tiny_demo, "trainer=cpu"), tmp_path / "evaluate")
    with (tmp_path / "evaluate" / "predictions.csv").open(newline="") as file:
        evaluated = {row["video"]: float(row["prob"]) for row in csv.DictReader(file)}
    root = Path(tiny_demo[0].partition("=")[2])
    files = {f"{path.relative_to(root).with_suffix('')}": path for path in root.rglob("*.mp4")}
    names = "input=[" + ",".join(str(files[video]) for video in evaluated) + "]"
    predict.main(composed("predict", checkpoint, names, "pages=false"), tmp_path / "predict")
    answer = json.loads((tmp_path / "predict" / "predictions.json").read_text())
    predicted = {
        str(Path(one["file"]).relative_to(root).with_suffix("")): one["prob"] for one in answer["files"]
    }
    assert len(evaluated) > 1
    assert predicted == evaluated
