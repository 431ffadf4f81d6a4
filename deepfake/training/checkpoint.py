"""What a checkpoint carries besides weights, as plain values: enough to predict from the one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from deepfake.config import build
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.scoring.aggregate import TrackRule

KEY = "deepfake"
WEIGHTS = "detector."
LIBRARIES = ("deepfake", "torch", "torchvision", "timm", "pytorch-lightning", "facenet-pytorch")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to rebuild a detector and use it as it was trained.

    net: config of the Detector. faces: values of FaceSettings. eval_windows, eval_hop, min_track_share: see
    FaceDataModule. track_rule: see scoring.aggregate. threshold: prob from which a video is called fake,
    chosen on the validation split. protocol: name, hash and footprint of the split it was trained by; None
    before training.
    """

    net: dict[str, Any]
    faces: dict[str, Any]
    eval_windows: int | None = 32
    eval_hop: int | None = None
    min_track_share: float = 0.25
    track_rule: TrackRule = "max"
    threshold: float = 0.5
    protocol: dict[str, Any] | None = None

    @property
    def face_settings(self) -> FaceSettings:
        """The settings of the crops that the detector was trained on."""
        return FaceSettings.from_dict(self.faces)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the versions of the libraries that move scores."""
        return asdict(self) | {"versions": {name: version(name) for name in LIBRARIES}}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this project as plain data; raises UserError for anything else."""
    if not path.is_file():
        raise UserError(f"checkpoint={path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:
        raise UserError(f"checkpoint={path}: not a readable checkpoint ({type(err).__name__})") from err
    if not isinstance(checkpoint, Mapping) or KEY not in checkpoint:
        raise UserError(f"checkpoint={path}: not written by scripts/train.py (it has no {KEY!r} entry)")
    return dict(checkpoint)


def read_recipe(checkpoint: Mapping[str, Any]) -> Recipe:
    """The recipe in a checkpoint."""
    return Recipe(**{name: value for name, value in checkpoint[KEY].items() if name != "versions"})


def load_detector(path: Path, *, device: str = "cpu") -> tuple[Detector, Recipe]:
    """The detector of a checkpoint, ready to score, and its recipe."""
    checkpoint = read_checkpoint(path)
    recipe = read_recipe(checkpoint)
    detector: Detector = build(without_downloads(recipe.net))
    state = checkpoint["state_dict"]
    detector.load_state_dict({k.removeprefix(WEIGHTS): v for k, v in state.items() if k.startswith(WEIGHTS)})
    return detector.eval().to(device), recipe


def without_downloads(net: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with pretrained off at every depth: the checkpoint's weights replace them anyway."""
    return {
        name: False
        if name == "pretrained"
        else without_downloads(value)
        if isinstance(value, Mapping)
        else value
        for name, value in net.items()
    }
