"""Throughput with a clock that is told what time it is."""

from types import SimpleNamespace

import pytest
import torch

from deepfake.data.dataset import Batch
from deepfake.training.callbacks import Throughput


class Strategy:
    """Two processes: the other one did as many frames, and took 1 s longer."""

    def reduce(self, value: torch.Tensor, *, reduce_op: str) -> torch.Tensor:
        return {"sum": value * 2, "max": value + 1}[reduce_op]


class Module:
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}

    def log(self, name: str, value: torch.Tensor) -> None:
        self.logged[name] = float(value)


def batch(windows: int, frames: int) -> Batch:
    keys = torch.zeros(windows)
    return Batch(torch.zeros(windows, frames, 3, 1, 1), keys, keys, keys, keys)


@pytest.mark.parametrize("in_mid_epoch", [True, False])
def test_throughput_is_that_of_all_processes_and_leaves_out_validation(in_mid_epoch: bool) -> None:
    now, module = 0.0, Module()
    trainer = SimpleNamespace(strategy=Strategy())
    monitor = Throughput(clock=lambda: now)
    for _ in range(2):  # a second epoch starts anew
        monitor.on_train_epoch_start(trainer, module)
        for index, size in enumerate((4, 4, 2)):  # the last batch is smaller
            now += 1.0  # waiting for the loader
            monitor.on_train_batch_start(trainer, module)
            now += 2.0
            monitor.on_train_batch_end(trainer, module, None, batch(size, 8), index)
            if index == 2 or (in_mid_epoch and index == 0):
                monitor.on_validation_start(trainer, module)
                now += 100.0
        monitor.on_train_epoch_end(trainer, module)
    # the wait after a validation in mid-epoch is not told from it
    seconds = (8.0 if in_mid_epoch else 9.0) + 1.0
    assert module.logged == pytest.approx(
        {"train/windows_per_s": 20 / seconds, "train/frames_per_s": 160 / seconds}
    )
