"""Detectors that start from weights made elsewhere, for training and for prediction."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from deepfake.config import build, to_plain
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.published import read_weights
from deepfake.models.weights import Weights, load_weights
from deepfake.tasks.assemble import face_settings
from deepfake.training.checkpoint import Recipe, load_detector, without_downloads

log = logging.getLogger(__name__)


def take_weights(cfg: DictConfig) -> Weights | None:
    """The weights that cfg names, if any; cfg.model then wants their kind of crops, unless told otherwise."""
    if cfg.weights is None:
        return None
    weights = read_weights(Path(cfg.weights))
    cfg.published = dict(weights.input)
    return weights


def build_detector(net: dict[str, Any], weights: Weights | None) -> Detector:
    """The detector of a config, to be trained: with the weights in it if there are any."""
    if weights is None:
        return build(net)
    detector: Detector = build(without_downloads(net))
    head = "" if load_weights(detector, weights) else "; the head starts from random ones"
    log.info("weights of %s from %s%s", weights.made_for, weights.path, head)
    return detector


def chosen_detector(cfg: DictConfig, *, device: str) -> tuple[Detector, Recipe]:
    """The detector of cfg.checkpoint, or of cfg.model with cfg.weights, ready to score, and its recipe.

    Raises UserError unless it is one of the two, and where a file has nothing to score with.
    """
    if (cfg.checkpoint is None) == (cfg.weights is None):
        raise UserError(
            "what to predict with? give checkpoint=FILE.ckpt, or else model=… weights=FILE, and not both"
        )
    if cfg.checkpoint is not None:
        if "model" in cfg:
            raise UserError("model=…: a checkpoint brings its own model; leave model= away")
        if changed := face_settings(cfg).differences(FaceSettings()):
            raise UserError(f"faces: a checkpoint brings its own settings; leave these away: {changed}")
        return load_detector(Path(cfg.checkpoint), device=device)
    if "model" not in cfg:
        raise UserError(f"weights={cfg.weights}: say of which model they are, such as model=meso")
    weights = take_weights(cfg)
    assert weights is not None
    if weights.ours:
        raise UserError(f"weights={weights.path}: our own checkpoint; use checkpoint={weights.path}")
    recipe = Recipe(net=to_plain(cfg.model.net), faces=face_settings(cfg).to_dict())
    detector: Detector = build(without_downloads(recipe.net))
    if not load_weights(detector, weights):
        raise UserError(
            f"weights={weights.path}: no head of this model's kind in it ({weights.made_for}), so it cannot "
            "tell real from fake yet; train one: scripts/train.py weights=…"
        )
    check_crops(detector, recipe.face_settings)
    return detector.eval().to(device), recipe


def check_crops(detector: Detector, faces: FaceSettings) -> None:
    """Raise UserError where faces are cut too tightly, or in too short clips, for the detector."""
    spec = detector.input
    if spec.margin > faces.margin:
        raise UserError(
            f"faces.margin={faces.margin}: the model wants wider crops; add faces.margin={spec.margin}"
        )
    if spec.span > faces.clip_frames:
        raise UserError(
            f"faces.clip_frames={faces.clip_frames}: the model's window spans {spec.span} frames; add "
            f"faces.clip_frames={spec.span}"
        )
