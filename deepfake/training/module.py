"""A detector in Lightning: training steps, window scores of all processes, metrics per epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric
from torchmetrics.utilities import dim_zero_cat

from deepfake.data.dataset import Batch, SharedFrames
from deepfake.errors import Stopped
from deepfake.models.detector import Detector
from deepfake.scoring.aggregate import WindowScores
from deepfake.scoring.decision import Decision, fitted
from deepfake.scoring.evaluation import LEVELS, measure
from deepfake.scoring.metrics import RATES, goal
from deepfake.training.checkpoint import KEY, Checkpoint
from deepfake.training.optim import Optimizers, Schedule, constant, make_optimizer


class VideoScores(Metric):
    """Collects logits with keys and labels; gather() joins all processes and counts duplicates once."""

    full_state_update = False
    keys: list[Tensor]
    logits: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("keys", default=[], dist_reduce_fx="cat")
        self.add_state("logits", default=[], dist_reduce_fx="cat")

    def update(
        self, *, video: Tensor, track: Tensor, start: Tensor, frame: Tensor, label: Tensor, logit: Tensor
    ) -> None:
        """Add windows: keys (B,) int64, frame (B, T) int64, label (B,) of 0 or 1, logit (B,) float."""
        keys = torch.stack([video, track, start, label.long()], dim=1)
        self.keys.append(torch.cat([keys, frame], dim=1))
        self.logits.append(logit.detach().double())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Keys, labels and frames (W, 4 + T) int64 and logits (W,) float64 of all processes, as they came."""
        if len(self.keys) == 0:
            return torch.zeros(0, 5, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
        return dim_zero_cat(self.keys), dim_zero_cat(self.logits)

    def gather(self) -> tuple[WindowScores, dict[int, int]]:
        """All windows so far, sorted by key, each once, and the label of each video."""
        keys, logits = self.compute()
        rows = keys.cpu().numpy()
        video, track, start, label = rows[:, :4].T
        scores = WindowScores(video, track, start, logits.cpu().numpy(), rows[:, 4:])
        return scores.unique(), dict(zip(video.tolist(), label.tolist(), strict=True))


MONITORS = ("val/loss", *(f"val/{level}_{rate}" for level in reversed(LEVELS) for rate in RATES))
"""The metrics of validation; each can choose the best epoch."""


FitDecision = Callable[[Decision, WindowScores, dict[int, int]], Decision]


class DetectorModule(pl.LightningModule):
    """Trains a detector with binary cross-entropy and measures it per video.

    checkpoint: written into every checkpoint, with the decision that was fitted to the last validation.
    optimizer, schedule: functions of the parameter groups and of the optimizer. label_smoothing: share of
    each label that is moved to one half. layer_decay: see param_groups. monitor: metric of validation for
    the plateau schedule. fit_decision: fits a decision to scores and labels per video. seed: of dropout.
    """

    def __init__(
        self,
        detector: Detector,
        checkpoint: Checkpoint,
        *,
        optimizer: Optimizers | None = None,
        schedule: Schedule = constant,
        label_smoothing: float = 0.0,
        layer_decay: float = 1.0,
        monitor: str = "val/loss",
        fit_decision: FitDecision = fitted,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.checkpoint = checkpoint
        self.optimizer = optimizer
        self.schedule = schedule
        self.label_smoothing = label_smoothing
        self.layer_decay = layer_decay
        self.monitor = monitor
        self.fit_decision = fit_decision
        self.seed = seed
        self.train_loss = MeanMetric()
        self.train_loss.persistent(True)  # for epochs that resume in the middle
        self.scores = VideoScores()
        self.test_result: tuple[WindowScores, dict[int, int]] | None = None

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, T, 3, H, W) uint8 -> logits (B,)."""
        return self.detector(crops)

    def on_fit_start(self) -> None:
        """Store in the checkpoint which split the training uses."""
        self.checkpoint = replace(self.checkpoint, protocol=self.trainer.datamodule.stamp)  # type: ignore[attr-defined]

    def on_train_epoch_start(self) -> None:
        """Start a new mean; an epoch that resumes in the middle keeps its own."""
        self.train_loss.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by seed, epoch and batch, so that a resumed run repeats the uninterrupted one."""
        seed = hash((self.seed, self.current_epoch, batch_idx, self.global_rank)) % 2**31
        # torch.manual_seed also records the call stack for unused GPUs, which takes time
        set_seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        set_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        label = batch.label * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = binary_cross_entropy_with_logits(self(batch.crops), label)
        if not loss.isfinite():  # train_loss reads each loss too, so that this waits for nothing more
            self._stop(f"the loss of batch {batch_idx + 1} is {float(loss.detach())}")
        self.train_loss.update(loss.detach(), weight=len(label))
        self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Discard the scores of the last epoch."""
        self.scores.reset()

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: SharedFrames, batch_idx: int) -> None:
        """Gather scores."""
        self._score(batch)

    def test_step(self, batch: SharedFrames, batch_idx: int) -> None:
        """Gather scores."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Fit the decision, measure with it, and step a plateau schedule."""
        scores, labels = self.scores.gather()
        self._check_scores("validation", scores)
        decision = self.fit_decision(self.checkpoint.decision, scores, labels)
        self.checkpoint = replace(self.checkpoint, decision=decision)
        metrics = self._log_metrics("val", scores, labels)
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau):
                config.scheduler.step(metrics[self.monitor])

    def on_test_epoch_end(self) -> None:
        """Measure with the decision of the checkpoint."""
        self.test_result = self.scores.gather()
        self._check_scores("test", self.test_result[0])
        self._log_metrics("test", *self.test_result)

    def configure_optimizers(self) -> Any:
        """The optimizer over all parameters, and its schedulers."""
        if self.optimizer is None:
            raise ValueError("a module without an optimizer can score but not train")
        optimizer = make_optimizer(self.detector, self.optimizer, layer_decay=self.layer_decay)
        schedulers = self.schedule(optimizer, num_steps=num_steps(self.trainer), mode=goal(self.monitor))
        return [optimizer], [
            {
                "scheduler": scheduler,
                "name": "lr",  # also of a second one on the same parameter groups
                "interval": "epoch" if isinstance(scheduler, ReduceLROnPlateau) else "step",
                "monitor": self.monitor,
            }
            for scheduler in schedulers
        ]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step with the optimizer, except a plateau schedule, which validation steps.

        Lightning would step it after the epoch's checkpoint is written, and a resumed run would miss a step.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the checkpoint; raises Stopped for weights that are not finite, before the file is written."""
        for name, value in checkpoint.get("state_dict", {}).items():
            if isinstance(value, Tensor) and not value.isfinite().all():
                self._stop(f"the weights {name} are not finite numbers")
        checkpoint[KEY] = self.checkpoint.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Use the decision that was fitted to these weights."""
        fitted_with_them = Checkpoint.from_dict(checkpoint[KEY]).decision
        self.checkpoint = replace(self.checkpoint, decision=fitted_with_them)

    def _score(self, batch: SharedFrames) -> None:
        logit = self.detector.score(
            batch.place.cpu().numpy(), lambda numbers: batch.frames[torch.from_numpy(numbers)]
        )
        self.scores.update(
            video=batch.video,
            track=batch.track,
            start=batch.start,
            frame=batch.frame,
            label=batch.label,
            logit=logit,
        )

    def _check_scores(self, split: str, scores: WindowScores) -> None:
        wrong = int((~np.isfinite(scores.logit)).sum())
        if wrong:
            self._stop(f"{wrong} of {len(scores)} scores of the {split} split are not finite numbers")

    def _stop(self, what: str) -> NoReturn:
        raise Stopped(
            f"epoch {self.current_epoch + 1}: {what}. The checkpoints of earlier epochs are kept. A lower "
            "model.optimizer.lr, a smaller trainer.gradient_clip_val or trainer.precision=32-true may help"
        )

    def _log_metrics(self, stage: str, scores: WindowScores, labels: dict[int, int]) -> dict[str, float]:
        metrics = measure(scores, labels, self.checkpoint.decision)
        # Lightning logs only numbers; our own files say null
        numbers = {f"{stage}/{name}": float("nan") if v is None else v for name, v in metrics.items()}
        self.log_dict(numbers)
        return numbers


def num_steps(trainer: pl.Trainer) -> int:
    """Steps of the optimizer in the whole training.

    trainer.estimated_stepping_batches would create the loader before a resumed training knows its position.
    """
    if trainer.max_steps > 0:
        return trainer.max_steps
    assert trainer.max_epochs is not None
    limit, batches = trainer.limit_train_batches, trainer.datamodule.num_train_batches  # type: ignore[attr-defined]
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return -(-batches // trainer.accumulate_grad_batches) * trainer.max_epochs
