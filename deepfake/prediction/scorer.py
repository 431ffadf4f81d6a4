"""What judges windows: a detector in PyTorch, or the file that one was exported to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from deepfake.errors import UserError
from deepfake.models.shared_frames import Read
from deepfake.prediction.onnx_detector import load_onnx
from deepfake.records import InputSpec
from deepfake.training.checkpoint import Recipe, load_detector


class Scorer(Protocol):
    """A Detector, or whatever else gives windows their logits."""

    @property
    def input(self) -> InputSpec:
        """What crops must look like."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that its logits come from, in hexadecimal digits."""

    def score(self, windows: np.ndarray, read: Read) -> Tensor:
        """Logits (W,) of windows, (W, T) numbers of frames, which are read a few at a time, each once."""


def load_scorer(path: Path, *, device: str = "cpu") -> tuple[Scorer, Recipe]:
    """What is in a checkpoint or in an ONNX file of scripts/export.py, ready to score, and its recipe.

    Raises UserError for anything else, and for a .pt2 file: reading one can run code that is in it.
    """
    if path.suffix == ".onnx":
        return load_onnx(path, device=device)
    if path.suffix == ".pt2":
        raise UserError(
            f"checkpoint={path}: torch.export.load would run whatever code a .pt2 file holds, so it is not "
            "read here; use the checkpoint that it was made of, or scripts/export.py format=onnx"
        )
    return load_detector(path, device=device)
