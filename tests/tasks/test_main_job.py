"""The main job on a small demo corpus: train, evaluate, predict, resume."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from deepfake.errors import SomeFailed, UserError
from deepfake.tasks import evaluate, predict, train
from deepfake.training.checkpoint import read_detector
from deepfake.training.module import MONITORS

Composed = Callable[..., DictConfig]
FAST = ("trainer=cpu", "data.windows_per_video=1", "data.eval_windows=3", "faces.num_clips=2")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(run_dir: Path) -> dict[str, float | None]:
    return json.loads((run_dir / "metrics.json").read_text())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_training_run_writes_every_file_of_the_contract(trained: Path) -> None:
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml",
        "metrics.json",
        "predictions.csv",
        "checkpoints/epoch=000.ckpt",
        "checkpoints/epoch=001.ckpt",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "plots/roc.png",
        "plots/scores.png",
        "plots/history.png",
    }
    assert {f"test/video_{name}" for name in ("auroc", "accuracy", "eer", "ap")} <= set(metrics(trained))
    assert metrics(trained)["test/coverage"] == 1.0
    header = (trained / "predictions.csv").read_text().splitlines()[0]
    assert header == "video,label,prob,verdict,method,tracks,frames,reason"


def test_the_best_checkpoint_is_the_epoch_of_the_lowest_validation_loss(trained: Path) -> None:
    logged = rows(trained / "logs" / "version_0" / "metrics.csv")
    losses = {int(row["epoch"]): float(row["val/loss"]) for row in logged if row.get("val/loss")}
    best = min(losses, key=lambda epoch: losses[epoch])
    chosen = weights(trained / "checkpoints" / "best.ckpt")
    for name, value in weights(trained / "checkpoints" / f"epoch={best:03d}.ckpt").items():
        assert torch.equal(value, chosen[name])


def test_every_metric_that_can_choose_the_best_epoch_is_measured(trained: Path) -> None:
    logged = rows(trained / "logs" / "version_0" / "metrics.csv")
    assert set(MONITORS) == {name for name in logged[0] if name.startswith("val/")}


@pytest.mark.parametrize("monitor", ["test/video_auroc", "val/auroc"])
def test_the_best_epoch_is_chosen_by_nothing_but_validation(
    composed: Composed, tiny_demo: tuple[str, ...], tmp_path: Path, monitor: str
) -> None:
    with pytest.raises(UserError, match=f"monitor={monitor}: must be one of val/loss, val/video_auroc"):
        train.main(composed("train", *tiny_demo, *FAST, f"monitor={monitor}"), tmp_path)


@pytest.mark.parametrize("loader", [(), ("data.batch_size=3",), ("data.batch_size=5", "data.num_workers=2")])
def test_evaluating_the_best_checkpoint_repeats_the_test_of_training(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path, loader: tuple[str, ...]
) -> None:
    checkpoint = f"checkpoint='{trained}/checkpoints/best.ckpt'"
    evaluate.main(composed("evaluate", checkpoint, "trainer=cpu", *tiny_demo, *loader), tmp_path)
    if not loader:
        assert metrics(tmp_path) == metrics(trained)
        assert rows(tmp_path / "predictions.csv") == rows(trained / "predictions.csv")
    for ours, theirs in zip(
        rows(tmp_path / "predictions.csv"), rows(trained / "predictions.csv"), strict=True
    ):
        assert float(ours["prob"]) == pytest.approx(float(theirs["prob"]), abs=1e-5)


def test_averaged_weights_are_those_that_are_tested_and_stored(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    ours, again = tmp_path / "train", tmp_path / "evaluate"
    for folder in (ours, again):
        folder.mkdir()
    small = ("model.image_size=64", "averaging=ema", "averaging.decay=0.5", "trainer.max_epochs=2")
    train.main(composed("train", *tiny_demo, *FAST, *small), ours)
    best = torch.load(ours / "checkpoints" / "best.ckpt", weights_only=True)
    name = "detector.head.linear.weight"
    assert not torch.equal(best["state_dict"][name], best["current_model_state"][name])
    checkpoint = f"checkpoint='{ours}/checkpoints/best.ckpt'"
    evaluate.main(composed("evaluate", checkpoint, "trainer=cpu", *tiny_demo), again)
    assert metrics(again) == metrics(ours)


def test_prediction_gives_a_test_video_the_score_it_had_in_the_test(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    root = Path(tiny_demo[0].partition("=")[2])
    expected = {
        str(root / f"{row['video']}.mp4"): float(row["prob"]) for row in rows(trained / "predictions.csv")
    }
    cfg = composed("predict", f"checkpoint='{trained}/checkpoints/best.ckpt'", f"input={root}")
    predict.main(cfg, tmp_path)
    found = {row["file"]: float(row["prob"]) for row in rows(tmp_path / "predictions.csv")}
    assert len(found) == len(list(root.rglob("*.mp4"))) > len(expected) > 0
    assert {file: found[file] for file in expected} == pytest.approx(expected, abs=1e-5)


def test_a_bad_file_is_a_row_and_all_others_are_scored(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    good = min(Path(tiny_demo[0].partition("=")[2]).rglob("*.mp4"))
    bad = tmp_path / "broken, «film».mp4"
    bad.write_bytes(b"no video")
    blank = tmp_path / "blank.png"
    from PIL import Image

    Image.new("RGB", (320, 240), "grey").save(blank)
    cfg = composed("predict", f"checkpoint='{trained}/checkpoints/best.ckpt'", "input=[]")
    cfg.input = [str(bad), str(good), str(blank)]
    with pytest.raises(SomeFailed, match="1 of 3"):
        predict.main(cfg, tmp_path)
    found = rows(tmp_path / "predictions.csv")
    assert [(row["file"], row["status"], row["verdict"] == "undetermined") for row in found] == [
        (str(bad), "error", True),
        (str(good), "ok", False),
        (str(blank), "ok", True),
    ]
    assert str(bad) in found[0]["reason"]
    assert found[2]["reason"] == "no face found in 1 sampled frames"
    answer = json.loads((tmp_path / "predictions.json").read_text())
    track = answer["files"][1]["tracks"][0]
    assert track["prob"] == pytest.approx(sum(w["prob"] for w in track["windows"]) / len(track["windows"]))
    assert "broken, «film».mp4" in (tmp_path / "report.html").read_text()


def test_resuming_with_another_model_is_refused(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    resume = f"resume='{trained}/checkpoints/last.ckpt'"
    with pytest.raises(UserError, match="net settings"):
        train.main(composed("train", *tiny_demo, *FAST, resume, "model=meso_lstm"), tmp_path)


def test_one_file_is_enough_to_load_a_detector(trained: Path) -> None:
    detector, checkpoint = read_detector(trained / "checkpoints" / "best.ckpt")
    assert detector.input.size == 256
    assert checkpoint.faces.num_clips == 2
    assert not detector.training


@pytest.mark.parametrize(
    "model",
    ["meso_lstm", *(pytest.param(f"efficientnet{head}", marks=pytest.mark.slow) for head in ("", "_lstm"))],
)
def test_every_detector_trains_on_the_same_store(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path, model: str
) -> None:
    store = Path(tiny_demo[1].partition("=")[2])
    before = {path: path.stat().st_mtime_ns for path in (store / "faces").rglob("*.arrow")}
    size = ["model.image_size=64"] if "efficientnet" in model else []
    train.main(
        composed("train", *tiny_demo, *FAST, f"model={model}", "trainer.max_epochs=1", *size), tmp_path
    )
    assert (tmp_path / "metrics.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in (store / "faces").rglob("*.arrow")} == before


def test_a_window_longer_than_the_clips_is_refused(
    composed: Composed, tiny_demo: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"faces\.clip_frames=16"):
        train.main(composed("train", *tiny_demo, *FAST, "model=meso_lstm", "model.window=16"), tmp_path)
