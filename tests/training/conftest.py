from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from deepfake.data.dataset import Batch, SharedFrames
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4
from deepfake.records import InputSpec
from deepfake.scoring.decision import Decision
from deepfake.training.checkpoint import Checkpoint
from deepfake.training.module import DetectorModule


@pytest.fixture
def detector() -> Detector:
    """Meso-4 at 32 px with a linear head."""
    torch.manual_seed(0)
    spec = InputSpec(size=32, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))
    return Detector(backbone=Meso4(image_size=32), head=partial(LinearHead), input=spec)


@pytest.fixture
def make_module(detector: Detector) -> Callable[..., DetectorModule]:
    """A module of the detector with other options."""
    checkpoint = Checkpoint(net={}, faces=FaceSettings(), decision=Decision(threshold=0.9))
    return partial(DetectorModule, detector, checkpoint)


class NoiseData(pl.LightningDataModule):
    """Three batches of four windows of noise to train on, and one to validate with."""

    stamp: dict[str, Any] = {}  # noqa: RUF012 (as FaceDataModule has it)
    num_train_batches = 3

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        crops = torch.randint(0, 256, (4, 4, 1, 3, 32, 32), dtype=torch.uint8, generator=random)
        keys, label = torch.arange(4), torch.tensor([0.0, 1, 0, 1])
        self.batches = [Batch(own, label, keys, keys * 0, keys * 0) for own in crops[:3]]
        self.validation = SharedFrames(
            crops[3, :, 0], keys[:, None], label, keys, keys * 0, keys * 0, keys[:, None]
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[SharedFrames]:
        return DataLoader([self.validation], batch_size=None)  # type: ignore[arg-type]


@pytest.fixture
def fit() -> Callable[..., pl.Trainer]:
    """Train a module on noise for some epochs with callbacks."""

    def run(module: DetectorModule, *callbacks: Callback, max_epochs: int, **settings: Any) -> pl.Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **settings}
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=max_epochs,
            callbacks=list(callbacks),
            num_sanity_val_steps=0,
            enable_model_summary=False,
            **quiet,
        )
        trainer.fit(module, datamodule=NoiseData())
        return trainer

    return run
