"""Window scores gathered over batches and processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deepfake.scoring.aggregate import WindowScores


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
