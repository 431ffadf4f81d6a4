"""Every detector can learn eight windows by heart; one that cannot has a broken gradient somewhere."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from deepfake.tasks import train

MODELS = {
    "meso": ("model.image_size=64",),
    "meso_inception": ("model.image_size=64",),
    "meso_lstm": ("model.image_size=64", "model.window=2"),
    "efficientnet": ("model.image_size=64",),
    "efficientnet_lstm": ("model.image_size=64", "model.window=2"),
}


SLOW = ("efficientnet", "efficientnet_lstm")  # 40 s each


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODELS]
)
def test_a_detector_learns_eight_windows_by_heart(
    composed: Callable[..., DictConfig],
    tiny_demo: tuple[str, ...],
    trained: Path,
    tmp_path: Path,
    model: str,
) -> None:
    overrides = ("experiment=overfit", "trainer=cpu", "faces.num_clips=2", "data.eval_windows=1")
    steps = ("data.windows_per_video=80", "trainer.max_epochs=2", "resamples=0")  # 80 an epoch
    cfg = composed("train", *tiny_demo, *overrides, f"model={model}", *MODELS[model], *steps)
    train.main(cfg, tmp_path)
    with (tmp_path / "logs" / "version_0" / "metrics.csv").open(newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 2
    assert losses[-1] < 0.05
