"""Detectors that start from weights made elsewhere, for training and for prediction."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deepfake.config import NETS, build, to_plain
from deepfake.errors import UserError
from deepfake.faces.settings import FOLLOWING, SAMPLING, FaceSettings, looking
from deepfake.models.detector import Detector
from deepfake.models.published import read_weights
from deepfake.models.weights import Weights, load_weights
from deepfake.prediction.loaded import LoadedDetector, load_detector
from deepfake.prediction.scorer import Scorer
from deepfake.tasks.assemble import face_settings
from deepfake.training.checkpoint import Recipe, without_downloads

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
        return build(net, only=NETS)
    detector: Detector = build(without_downloads(net), only=NETS)
    head = "" if load_weights(detector, weights) else "; the head starts from random ones"
    log.info("weights of %s from %s%s", weights.made_for, weights.path, head)
    return detector


def chosen_detector(cfg: DictConfig, *, device: str) -> LoadedDetector:
    """The detector of cfg.checkpoint, or of cfg.model with cfg.weights, ready to score.

    Raises UserError unless it is one of the two, and where a file has nothing to score with.
    """
    if (cfg.checkpoint is None) == (cfg.weights is None):
        raise UserError(
            "what to predict with? give checkpoint=FILE.ckpt, or else model=… weights=FILE, and not both"
        )
    if cfg.checkpoint is not None:
        if "model" in cfg:
            raise UserError("model=…: a checkpoint brings its own model; leave model= away")
        wanted = face_settings(cfg)
        refuse_other_crops(wanted)
        loaded = load_detector(cfg.checkpoint, device=device)
        settings = looking(loaded.recipe.face_settings, wanted, named_faces())
        check_crops(loaded.detector, settings)
        return loaded.looking(settings)
    if "model" not in cfg:
        raise UserError(f"weights={cfg.weights}: say of which model they are, such as model=meso")
    weights = take_weights(cfg)
    assert weights is not None
    if weights.ours:
        raise UserError(f"weights={weights.path}: our own checkpoint; use checkpoint={weights.path}")
    wanted, usual = face_settings(cfg), FaceSettings()
    as_usual = replace(wanted, **{name: getattr(usual, name) for name in SAMPLING})
    recipe = Recipe(net=to_plain(cfg.model.net), faces=as_usual.to_dict())
    detector: Detector = build(without_downloads(recipe.net), only=NETS)
    if not load_weights(detector, weights):
        raise UserError(
            f"weights={weights.path}: no head of this model's kind in it ({weights.made_for}), so it cannot "
            "tell real from fake yet; train one: scripts/train.py weights=…"
        )
    check_crops(detector, wanted)
    loaded = LoadedDetector(detector.eval().to(device), recipe, Path(cfg.weights), device)
    return loaded.looking(wanted)


def named_faces() -> set[str]:
    """The face settings that the command itself names: such a value counts even where it is the usual one."""
    if not HydraConfig.initialized():
        return set()
    keys = (override.lstrip("+").partition("=")[0] for override in HydraConfig.get().overrides.task)
    return {key.removeprefix("faces.") for key in keys if key.startswith("faces.")}


def refuse_other_crops(wanted: FaceSettings) -> None:
    """Raise UserError where settings beside a checkpoint ask for more than another look at the video."""
    usual = FaceSettings()
    looks = {name: getattr(wanted, name) for name in (*SAMPLING, *FOLLOWING)}
    if changed := wanted.differences(replace(usual, **looks)):
        raise UserError(f"faces: a checkpoint brings its own settings; leave these away: {changed}")


def check_crops(detector: Scorer, faces: FaceSettings) -> None:
    """Raise UserError where faces are cut too tightly, or in too short clips, for the detector."""
    spec = detector.input
    if spec.margin > faces.margin:
        raise UserError(
            f"faces.margin={faces.margin}: the model wants wider crops; add faces.margin={spec.margin}"
        )
    if faces.num_clips is not None and spec.span > faces.clip_frames:
        raise UserError(
            f"faces.clip_frames={faces.clip_frames}: the model's window spans {spec.span} frames; add "
            f"faces.clip_frames={spec.span}"
        )
