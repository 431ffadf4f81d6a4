"""A detector with all that its use needs: how crops are made, how probs become verdicts, what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import torch

from deepfake.faces.settings import FOLLOWING, FaceSettings
from deepfake.prediction.judge import ENOUGH_FRAMES
from deepfake.prediction.reading import sha256
from deepfake.prediction.scorer import Scorer, load_scorer
from deepfake.scoring.decision import Decision
from deepfake.training.checkpoint import Recipe


@dataclass(frozen=True)
class LoadedDetector:
    """A detector ready to score, its recipe, the file it came from, and the device that it is on."""

    detector: Scorer
    recipe: Recipe
    path: Path
    device: str = "cpu"

    def deciding(self, decision: Decision) -> LoadedDetector:
        """The same with other rules or another threshold."""
        return replace(self, recipe=self.recipe.deciding(decision))

    def looking(self, faces: FaceSettings) -> LoadedDetector:
        """The same with other face settings.

        Where these take every frame, every window is scored; where they take fewer clips, a clip's windows
        are scored as densely as in validation, one of each clip at least.
        """
        own = self.recipe.face_settings.num_clips
        recipe = replace(self.recipe, faces=faces.to_dict())
        if faces.num_clips is None:
            recipe = replace(recipe, eval_windows=None, eval_hop=1)
        elif own is not None and recipe.eval_windows is not None and faces.num_clips < own:
            as_dense = ceil(recipe.eval_windows * faces.num_clips / own)
            most = min(recipe.eval_windows, max(as_dense, faces.num_clips))
            recipe = replace(recipe, eval_windows=most)
        return replace(self, recipe=recipe)

    @cached_property
    def sha256(self) -> str:
        """Of the file."""
        return sha256(self.path)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the network: its weights, or the exported file, and the config that builds it."""
        parts = {"net": self.recipe.net, "weights": self.detector.fingerprint}
        return hashlib.sha256(canonical(parts)).hexdigest()

    @property
    def preprocessing(self) -> dict[str, Any]:
        """All that decides the windows that are scored: extraction settings, crops, choice of windows."""
        recipe = self.recipe
        return {
            "faces": recipe.face_settings.to_dict(),
            "input": {name: value for name, value in recipe.net["input"].items() if name != "_target_"},
            "windows": {
                "most_a_track": recipe.eval_windows,
                "hop": recipe.eval_hop,
                "min_track_share": recipe.min_track_share,
                "enough_frames": ENOUGH_FRAMES,
            },
        }

    @property
    def preprocessing_fingerprint(self) -> str:
        """SHA-256 of that."""
        return hashlib.sha256(canonical(self.preprocessing)).hexdigest()

    @property
    def job(self) -> str:
        """SHA-256 of what a prediction hangs on besides the file: equal ones give equal predictions."""
        parts = {
            "model": self.fingerprint,
            "preprocessing": self.preprocessing,
            "decision": asdict(self.recipe.decision),
        }
        return hashlib.sha256(canonical(parts)).hexdigest()


def load_detector(path: str | Path, *, device: str = "auto") -> LoadedDetector:
    """The detector of a checkpoint of scripts/train.py, or of an ONNX file of scripts/export.py.

    device: "cpu", "cuda", or "auto", a GPU where there is one. The file is read as data: nothing in it runs.
    People are told apart as this version does, also by an older file: their crops are the same.
    Raises UserError for a file that is not there or neither of the two.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    detector, recipe = load_scorer(Path(path), device=device)
    today = FaceSettings()
    following = {name: getattr(today, name) for name in FOLLOWING}
    faces = replace(recipe.face_settings, **following)
    return LoadedDetector(detector, replace(recipe, faces=faces.to_dict()), Path(path), device)


def canonical(values: Mapping[str, Any]) -> bytes:
    """Plain values as the same bytes whatever their order."""
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
