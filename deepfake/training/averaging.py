"""Averages of the weights along a training, which generalise better than the last ones."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim.swa_utils import get_ema_avg_fn


class AverageWeights(WeightAveraging):
    """Validates, tests and stores an average over the steps since start_epoch; before it, the weights.

    decay: of an exponential moving average (EMA); None weighs all steps alike, which is stochastic weight
    averaging (Izmailov et al., UAI 2018) at every step. Statistics of BatchNorm are averaged along.
    """

    def __init__(self, *, start_epoch: int = 0, decay: float | None = None) -> None:
        super().__init__(**({} if decay is None else {"avg_fn": get_ema_avg_fn(decay)}))
        self.start_epoch = start_epoch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the new weights in; until the average begins, they replace it."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.current_epoch < self.start_epoch:
            assert self._average_model is not None
            self._average_model.n_averaged.zero_()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with both kinds of weights; a test is one of the average, which is loaded already."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
