from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from deepfake.config import to_plain
from deepfake.errors import UserError
from deepfake.training.callbacks import AverageWeights, FreezeBackbone, make_callbacks

Composed = Callable[..., DictConfig]
ALWAYS = {"best", "every_epoch", "progress", "learning_rate", "throughput", "freeze_backbone"}


def test_the_keys_of_a_training_switch_callbacks_on_and_off(composed: Composed, tmp_path: Path) -> None:
    usual = make_callbacks(to_plain(composed("train").callbacks), tmp_path)
    assert set(usual) == ALWAYS | {"within_epochs"}
    switches = ("save_every_minutes=null", "early_stopping_patience=3", "averaging=swa")
    keys = (*switches, "freeze_backbone_epochs=2")
    config = to_plain(composed("train", *keys, "monitor=val/video_auroc", "~callbacks.throughput"))
    chosen = make_callbacks(config["callbacks"], tmp_path)
    assert set(chosen) == (ALWAYS | {"averaging", "early_stopping"}) - {"throughput"}
    best, stopping, freezing = (chosen[name] for name in ("best", "early_stopping", "freeze_backbone"))
    assert isinstance(best, ModelCheckpoint)
    assert isinstance(stopping, EarlyStopping)
    assert isinstance(freezing, FreezeBackbone)
    assert isinstance(chosen["averaging"], AverageWeights)
    assert (best.monitor, best.mode, best.filename) == ("val/video_auroc", "max", "best")
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("val/video_auroc", "max", 3)
    assert freezing.num_epochs == 2


def test_checkpoints_are_written_below_the_run_folder(composed: Composed, tmp_path: Path) -> None:
    made = make_callbacks(to_plain(composed("train", "save_every_minutes=5").callbacks), tmp_path)
    writers = {name: one for name, one in made.items() if isinstance(one, ModelCheckpoint)}
    assert set(writers) == {"best", "every_epoch", "within_epochs"}
    assert {Path(str(one.dirpath)) for one in writers.values()} == {tmp_path / "checkpoints"}
    assert writers["within_epochs"]._train_time_interval == timedelta(minutes=5)


@pytest.mark.parametrize("key", ["best", "early_stopping"])
def test_a_metric_that_validation_does_not_measure_is_refused(
    composed: Composed, tmp_path: Path, key: str
) -> None:
    config = to_plain(composed("train", "monitor=test/loss", "early_stopping_patience=1"))
    with pytest.raises(UserError, match="test/loss"):
        make_callbacks({key: config["callbacks"][key]}, tmp_path)
