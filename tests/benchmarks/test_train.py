from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch.optim import SGD

from benchmarks.bench import Bench
from benchmarks.films import benchmark_videos
from benchmarks.store import extract_store
from benchmarks.train import TrainingComparison, label_alternately, measure_synthetic
from deepfake.config import build
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4
from deepfake.parallel.pool import Executor
from deepfake.records import InputSpec


@pytest.fixture(scope="module")
def comparison(
    composed: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory
) -> TrainingComparison:
    """Three batches of two windows an epoch, two epochs of which the first is not counted."""
    folder = tmp_path_factory.mktemp("comparison")
    films = benchmark_videos(
        folder=str(folder / "films"), num_films=2, size=(320, 240), num_frames=24, num_workers=1
    )
    videos, settings = label_alternately(films), FaceSettings(num_clips=2)
    bench = Bench(run_dir=folder, folder=folder, device="cpu", settings=settings)
    store = extract_store(bench, "store", settings, videos, Executor(num_workers=0))
    cfg = composed(
        "benchmark", "target=train", "num_workers=0", "batch_size=2", "schedule=constant", "trainer=cpu"
    )
    training = build(cfg.targets.train.training)
    return TrainingComparison(training, store, videos, batches=3, rounds=1, folder=folder, device="cpu")


def test_videos_get_labels_in_turn(comparison: TrainingComparison) -> None:
    assert [(video.label, video.method, video.split) for video in comparison.videos] == [
        (0, "real", "train"),
        (1, "fake", "train"),
    ]


@pytest.mark.parametrize("source", ["from_store", "in_memory"])
def test_both_loops_end_with_the_same_weights(comparison: TrainingComparison, source: str) -> None:
    """Without dropout, whose random numbers differ, the bare loop does the same work as ours."""
    torch.manual_seed(0)
    spec = InputSpec(size=32, margin=1.3, mean=(0,) * 3, std=(1,) * 3)
    detector = Detector(Meso4(image_size=32, dropout=0), partial(LinearHead, dropout=0), spec)
    made: list[SGD] = []

    def optimizer(groups: Sequence[dict[str, Any]]) -> SGD:
        made.append(SGD(groups, lr=0.1))
        return made[-1]

    seconds = getattr(comparison, source)(detector, optimizer)
    assert {name: len(own) for name, own in seconds.items()} == {"ours": 1, "other": 1}
    bare, ours = ([p for group in one.param_groups for p in group["params"]] for one in made)
    before = list(detector.parameters())
    torch.testing.assert_close(bare, ours, rtol=0, atol=1e-6)
    assert all(not any(torch.equal(p, q) for q in before if q.shape == p.shape) for p in ours if p.ndim > 1)


def test_training_beside_synthetic_batches_is_measured_for_every_size(comparison: TrainingComparison) -> None:
    torch.manual_seed(0)
    figures, details = measure_synthetic(
        comparison,
        partial(SGD, lr=0.1),
        precision="bf16-mixed",
        sizes={"efficientnet_b0": 32, "efficientnet_b1": 32},
    )
    name = "train/gpu_throughput_over_synthetic"
    assert set(figures) == {name, f"{name}_efficientnet_b0", f"{name}_efficientnet_b1"}
    for model in ("efficientnet_b0", "efficientnet_b1"):
        seconds = details[model]["seconds_an_epoch"]
        assert figures[f"{name}_{model}"] == pytest.approx(seconds["other"][0] / seconds["ours"][0])
    assert figures[name] == min(figures.values())
