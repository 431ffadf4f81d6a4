"""A detector in Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from deepfake.data.dataset import Batch
from deepfake.models.detector import Detector
from deepfake.scoring.aggregate import WindowScores, score_videos
from deepfake.scoring.metrics import Metrics, balanced_log_loss, classification_metrics, youden_threshold
from deepfake.scoring.video_scores import VideoScores
from deepfake.training.checkpoint import KEY, Recipe

Optimizers = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
Schedulers = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


class DetectorModule(pl.LightningModule):
    """Trains a detector with binary cross-entropy; scores are gathered with their keys, per video.

    optimizer, scheduler: still waiting for parameters and optimizer; the scheduler steps once an epoch.
    recipe: written into every checkpoint, with the threshold that the last validation chose.
    """

    def __init__(
        self,
        detector: Detector,
        recipe: Recipe,
        *,
        optimizer: Optimizers | None = None,
        scheduler: Schedulers | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.recipe = recipe
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.seed = seed
        self.scores = VideoScores()
        self.test_result: tuple[WindowScores, dict[int, int]] | None = None

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, T, 3, H, W) uint8 -> logits (B,)."""
        return self.detector(crops)

    def on_fit_start(self) -> None:
        """Note by which split it is trained."""
        self.recipe = replace(self.recipe, protocol=self.trainer.datamodule.stamp)  # type: ignore[attr-defined]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tie dropout to seed, epoch and batch, so that a resumed run repeats the uninterrupted one."""
        torch.manual_seed(hash((self.seed, self.current_epoch, batch_idx, self.global_rank)) % 2**31)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        loss = binary_cross_entropy_with_logits(self(batch.crops), batch.label)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.label))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of the last epoch."""
        self.scores.reset()

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather scores."""
        self._score(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather scores."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Choose the threshold, then measure with it."""
        scores, labels = self.scores.gather()
        videos = score_videos(scores, rule=self.recipe.track_rule)
        threshold = youden_threshold(list(videos.values()), [labels[video] for video in videos])
        self.recipe = replace(self.recipe, threshold=threshold)
        self._log_metrics("val", scores, labels)

    def on_test_epoch_end(self) -> None:
        """Measure with the threshold of the checkpoint."""
        self.test_result = self.scores.gather()
        self._log_metrics("test", *self.test_result)

    def configure_optimizers(self) -> Any:
        """The optimizer over all parameters, and the scheduler if there is one."""
        if self.make_optimizer is None:
            raise ValueError("a module without an optimizer can score but not train")
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.make_scheduler(optimizer)}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the recipe."""
        checkpoint[KEY] = self.recipe.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the threshold that was chosen with these weights."""
        self.recipe = replace(self.recipe, threshold=checkpoint[KEY]["threshold"])

    def _score(self, batch: Batch) -> None:
        self.scores.update(
            video=batch.video,
            track=batch.track,
            start=batch.start,
            label=batch.label,
            logit=self(batch.crops),
        )

    def _log_metrics(self, stage: str, scores: WindowScores, labels: dict[int, int]) -> None:
        for name, value in measure(scores, labels, self.recipe).items():
            # Lightning logs numbers only; files that people read say null
            number = float("nan") if value is None else value
            self.log(f"{stage}/{name}", number, prog_bar=name in ("loss", "video_auroc"))


def measure(scores: WindowScores, labels: dict[int, int], recipe: Recipe) -> Metrics:
    """Loss, and frame- and video-level metrics named level_metric; the frame level counts every window once.

    labels: by video. A frame detector's windows are single frames. The loss weighs both classes alike.
    """
    videos = score_videos(scores, rule=recipe.track_rule)
    window_labels = np.array([labels[video] for video in scores.video.tolist()], np.int64)
    levels = {
        "frame": (scores.prob, window_labels),
        "video": (np.array(list(videos.values())), np.array([labels[video] for video in videos], np.int64)),
    }
    metrics: Metrics = {"loss": balanced_log_loss(scores.logit, window_labels)}
    for level, (prob, label) in levels.items():
        values = classification_metrics(prob, label, threshold=recipe.threshold)
        metrics |= {f"{level}_{name}": value for name, value in values.items()}
    return metrics
