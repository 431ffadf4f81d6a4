from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from deepfake.data.dataset import Batch
from deepfake.errors import Stopped
from deepfake.scoring.decision import Decision
from deepfake.scoring.metrics import goal
from deepfake.training.checkpoint import KEY
from deepfake.training.module import DetectorModule

MakeModule = Callable[..., DetectorModule]


def batch(*labels: int) -> Batch:
    keys = torch.arange(len(labels))
    crops = torch.randint(0, 256, (len(labels), 1, 3, 32, 32), dtype=torch.uint8)
    return Batch(crops, torch.tensor(labels, dtype=torch.float32), keys, keys, keys)


def test_the_decision_is_that_of_the_checkpoint_whose_weights_are_loaded(make_module: MakeModule) -> None:
    module = make_module()
    written = replace(module.checkpoint, net={"input": {}}, decision=Decision(threshold=0.3, temperature=1.7))
    module.on_load_checkpoint({KEY: written.to_dict()})
    assert module.checkpoint.decision == written.decision


@pytest.mark.parametrize(("smoothing", "targets"), [(0.0, (0.0, 1.0)), (0.2, (0.1, 0.9))])
def test_label_smoothing_moves_both_labels_towards_one_half(
    make_module: MakeModule, monkeypatch: pytest.MonkeyPatch, smoothing: float, targets: tuple[float, float]
) -> None:
    module = make_module(label_smoothing=smoothing).eval()
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    data = batch(0, 1)
    prob = torch.sigmoid(module(data.crops))
    t = torch.tensor(targets)
    expected = -(t * prob.log() + (1 - t) * (1 - prob).log()).mean()
    torch.testing.assert_close(module.training_step(data, 0), expected)


def test_the_loss_of_an_epoch_is_the_mean_over_windows_whatever_the_batches(
    make_module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_module().eval()
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    data = batch(0, 1, 1, 0, 1)
    whole = module.training_step(data, 0)
    module.on_train_epoch_start()
    for part in (slice(0, 1), slice(1, 5)):
        module.training_step(Batch(*(column[part] for column in data)), 0)
    torch.testing.assert_close(module.train_loss.compute(), whole.detach())


@pytest.mark.parametrize(
    ("monitor", "better"),
    [("val/loss", "min"), ("val/video_eer", "min"), ("val/video_auroc", "max"), ("val/video_ap", "max")],
)
def test_losses_and_error_rates_are_better_when_smaller(monitor: str, better: str) -> None:
    assert goal(monitor) == better


class Spoil(Callback):
    """Puts a value into the head's weights in epoch 2: before a batch, or before or after validation."""

    def __init__(self, when: str, value: float) -> None:
        self.when, self.value = when, value

    def spoil(self, trainer: pl.Trainer, module: pl.LightningModule, when: str) -> None:
        if trainer.current_epoch == 1 and when == self.when:
            with torch.no_grad():
                module.detector.head.linear.weight.fill_(self.value)  # type: ignore[union-attr, operator]

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        self.spoil(trainer, module, "batch")

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.spoil(trainer, module, "validation")

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.spoil(trainer, module, "checkpoint")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("when", "what"), [("batch", "loss"), ("validation", "scores"), ("checkpoint", "head")]
)
def test_a_loss_scores_or_weights_that_are_not_finite_stop_the_training_and_keep_the_last_good_checkpoint(
    make_module: MakeModule,
    fit: Callable[..., pl.Trainer],
    tmp_path: Path,
    *,
    when: str,
    what: str,
    value: float,
) -> None:
    module = make_module(optimizer=partial(torch.optim.SGD, lr=1e-3))
    writer = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_last=True)
    with pytest.raises(Stopped, match=rf"^epoch 2: .*{what}.*model\.optimizer\.lr") as stopped:
        fit(module, Spoil(when, value), writer, max_epochs=3, enable_checkpointing=True)
    assert "\n" not in str(stopped.value)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch=0.ckpt", "last.ckpt"}
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["epoch"] == 0
    assert all(weights.isfinite().all() for weights in last["state_dict"].values())
