"""A training that was killed and resumed ends with the weights of an undisturbed one, bit for bit."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import joblib
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from deepfake.tasks import train

Composed = Callable[..., DictConfig]
EPOCHS, BATCHES = 3, 4  # of 4 windows each

SETTINGS = {
    "plain": (),
    "workers": ("data.num_workers=2",),
    "ema": ("averaging=ema", "averaging.decay=0.8"),
    "swa": ("averaging=swa", "averaging.start_epoch=1"),
    "plateau": ("schedule=plateau", "schedule.patience=0", "schedule.warmup=0.5"),
    "accumulated": ("trainer.accumulate_grad_batches=3", "schedule.warmup=0.2"),
    "frozen": ("freeze_backbone_epochs=2", "layer_decay=0.8", "label_smoothing=0.1"),
}


class PulledPlug(RuntimeError):
    """The end of a process, as far as a test in one process can have it."""


class PullPlug(Callback):
    """Ends a training before a batch, counted from 0 over all epochs."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.batch:
            raise PulledPlug


def digest(run_dir: Path, name: str) -> dict[str, str]:
    """A hash of every part of a checkpoint that the rest of a training depends on."""
    checkpoint = torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)
    kept = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
    return {part: joblib.hash(plain(checkpoint[part])) for part in kept if part in checkpoint}


def plain(value: Any) -> Any:
    """The same with arrays in place of tensors."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.numpy() if isinstance(value, torch.Tensor) else value


@pytest.fixture
def run(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Train on the tiny demo corpus, with last.ckpt after every third step; unplug=: stop before a batch."""
    made = train.make_callbacks

    def go(run_dir: Path, *overrides: str, unplug: int | None = None) -> None:
        def callbacks(settings: dict[str, Any], run_dir: Path) -> dict[str, Callback]:
            often = ModelCheckpoint(
                run_dir / "checkpoints",
                filename="last",
                every_n_train_steps=3,
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
            plug = {} if unplug is None else {"plug": PullPlug(unplug)}
            return made(settings, run_dir) | {"often": often} | plug

        monkeypatch.setattr(train, "make_callbacks", callbacks)
        fast = ("trainer=cpu", "data.windows_per_video=2", "data.eval_windows=3", "faces.num_clips=2")
        small = (
            *("data.batch_size=4", "model.image_size=32", "resamples=0"),
            f"trainer.max_epochs={EPOCHS}",
        )
        run_dir.mkdir(exist_ok=True)
        train.main(composed("train", *tiny_demo, *fast, *small, *overrides), run_dir)

    return go


@pytest.mark.slow
def test_a_training_killed_at_random_times_ends_as_if_undisturbed(
    tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    command = [str(Path(__file__).parents[2] / "scripts" / "train.py"), *tiny_demo]
    command += ["trainer=cpu", "faces.num_clips=2", "data.eval_windows=1", "data.num_workers=2"]
    command += ["model.image_size=64", "data.windows_per_video=60", "trainer.max_epochs=6"]
    command += ["save_every_minutes=0.01"]  # last.ckpt twice a second
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    commands.run([*command, f"hydra.run.dir={whole}"]).check_returncode()
    last, rng = broken / "checkpoints" / "last.ckpt", random.Random(0)
    resumed: list[str] = []
    for _ in range(6):
        process = commands.start(
            [*command, *(resumed or [f"hydra.run.dir={broken}"])], start_new_session=True
        )
        before = last.stat().st_mtime_ns if last.exists() else 0
        while not last.exists() or last.stat().st_mtime_ns == before:
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        resumed = [f"resume={last}"]
    commands.run([*command, *resumed]).check_returncode()
    for name in ("epoch=005", "best"):
        assert digest(broken, name) == digest(whole, name)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_training_resumed_at_an_epoch_or_within_one_ends_as_if_undisturbed(
    run: Callable[..., None], tmp_path: Path, settings: str
) -> None:
    overrides = SETTINGS[settings]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole, *overrides)
    resume: tuple[str, ...] = ()
    # between two epochs, then a step or two after a checkpoint within one
    for batch in (BATCHES, BATCHES + 3):
        with pytest.raises(PulledPlug):
            run(broken, *overrides, *resume, unplug=batch)
        resume = (f"resume='{broken}/checkpoints/last.ckpt'",)
    run(broken, *overrides, *resume)
    for name in ("epoch=001", "epoch=002", "best"):
        assert digest(broken, name) == digest(whole, name)
