"""Training the head alone at first, so that its random weights do not spoil a pretrained backbone."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from deepfake.errors import UserError
from deepfake.training.module import DetectorModule


class FreezeBackbone(Callback):
    """Leaves the backbone as it is, its BatchNorm statistics too, for the first num_epochs epochs."""

    def __init__(self, num_epochs: int) -> None:
        self.num_epochs = num_epochs

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raise UserError where processes would wait for gradients that never come."""
        options = getattr(trainer.strategy, "_ddp_kwargs", {})
        if trainer.world_size > 1 and not options.get("find_unused_parameters"):
            raise UserError(
                f"freeze_backbone_epochs={self.num_epochs}: several processes then need "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze or free it."""
        assert isinstance(pl_module, DetectorModule)
        learns = trainer.current_epoch >= self.num_epochs
        pl_module.detector.backbone.requires_grad_(learns).train(learns)

    # a training that is resumed in mid-epoch starts no epoch
    on_train_start = on_train_epoch_start
