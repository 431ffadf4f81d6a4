"""Window scores gathered over batches and processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deepfake.scoring.aggregate import WindowScores


class VideoScores(Metric):
    """Collects logits with keys and labels; compute() joins all processes and counts duplicates once."""

    full_state_update = False
    keys: list[Tensor]
    logits: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("keys", default=[], dist_reduce_fx="cat")
        self.add_state("logits", default=[], dist_reduce_fx="cat")

    def update(self, *, video: Tensor, track: Tensor, start: Tensor, label: Tensor, logit: Tensor) -> None:
        """Add windows: keys (B,) int64, label (B,) of 0 or 1, logit (B,) float."""
        self.keys.append(torch.stack([video, track, start, label.long()], dim=1))
        self.logits.append(logit.detach().double())

    def compute(self) -> tuple[WindowScores, dict[int, int]]:
        """All windows so far, sorted by key, and the label of each video."""
        if len(self.keys) == 0:
            empty = np.zeros(0, np.int64)
            return WindowScores(empty, empty, empty, np.zeros(0)), {}
        video, track, start, label = dim_zero_cat(self.keys).cpu().numpy().T
        scores = WindowScores(video, track, start, dim_zero_cat(self.logits).cpu().numpy())
        return scores.unique(), dict(zip(video.tolist(), label.tolist(), strict=True))
