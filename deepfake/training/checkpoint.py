"""What a checkpoint may say of its detector, checked before anything is built: it may be from anybody."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from torch import Tensor

from deepfake.config import NETS, build
from deepfake.corpora.leakage import Footprint
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.weights import Refused, first_difference, read_plain, shapes
from deepfake.scoring.aggregate import TRACK_RULES, WINDOW_RULES, TrackRule, WindowRule
from deepfake.scoring.decision import Decision

LARGEST = 65_536  # of any number in a recipe: pixels, frames, layers, hidden units
NAME = re.compile(r"[\w.+-]{1,200}")  # neither paths nor addresses nor ${…}
HYDRA_KEYS = ("_target_", "_partial_")
# arguments of timm that fetch or read a file; pretrained= is set to false
FETCHES = (
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "url",
    "file",
    "hf_hub_id",
    "cache_dir",
)


def check_plain(values: Any, place: str) -> None:
    """Raise UserError unless values are dicts and lists of names and of finite numbers up to LARGEST.

    place: the key that leads to them, for the message.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise UserError(f"{place} has a key that is no name: {name!r:.80}")
            check_plain(value, f"{place}.{name}")
    elif isinstance(values, list | tuple):
        for value in values:
            check_plain(value, place)
    elif isinstance(values, str):
        if not NAME.fullmatch(values):
            raise UserError(f"{place}={values!r:.80} refused: neither paths nor addresses belong there")
    elif isinstance(values, int | float):
        if not isfinite(values) or abs(values) > LARGEST:
            raise UserError(f"{place}={values!r:.80} refused: must be a number up to {LARGEST}")
    elif values is not None:
        raise UserError(f"{place} refused: {type(values).__name__} is no plain value")


def check_net(net: Any, place: str = "net") -> None:
    """Raise UserError unless a net is plain, of Hydra's keys has only HYDRA_KEYS, and fetches nothing."""
    if place == "net":
        check_plain(net, place)
    if isinstance(net, Mapping):
        for name, value in net.items():
            if name.startswith("_") and name not in HYDRA_KEYS:
                raise UserError(
                    f"{place}.{name} refused: of Hydra's keys only {', '.join(HYDRA_KEYS)} are known"
                )
            if name in FETCHES and value is not None:
                raise UserError(f"{place}.{name} refused: a checkpoint's own weights are all that is read")
            check_net(value, f"{place}.{name}")
    if isinstance(net, list | tuple):
        for value in net:
            check_net(value, f"{place}[]")


# What a checkpoint carries besides weights, as plain values: enough to predict from the one file.


KEY = "deepfake"
WEIGHTS = "detector."
LIBRARIES = ("deepfake", "torch", "torchvision", "timm", "pytorch-lightning", "facenet-pytorch")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to rebuild a detector and use it as it was trained.

    net: config of the Detector. faces: values of FaceSettings. eval_windows, eval_hop, min_track_share: see
    FaceDataModule. window_rule to undetermined_margin: of its Decision; threshold and temperature were fitted
    on the validation split, the threshold by threshold_rule, None where nobody noted it. protocol: name, hash
    and footprint of the split it was trained by; None before training.
    """

    net: dict[str, Any]
    faces: dict[str, Any]
    eval_windows: int | None = 32
    eval_hop: int | None = None
    min_track_share: float = 0.25
    window_rule: WindowRule = "mean"
    track_rule: TrackRule = "max"
    threshold: float = 0.5
    temperature: float = 1.0
    calibrate: bool = False
    undetermined_margin: float = 0.0
    threshold_rule: str | None = None
    protocol: dict[str, Any] | None = None

    @property
    def face_settings(self) -> FaceSettings:
        """The settings of the crops that the detector was trained on."""
        return FaceSettings.from_dict(self.faces)

    @property
    def decision(self) -> Decision:
        """How it goes from window logits to a video's prob and verdict."""
        return Decision(**{part.name: getattr(self, part.name) for part in fields(Decision)})

    def deciding(self, decision: Decision) -> Recipe:
        """The recipe with another decision."""
        return replace(self, **asdict(decision))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the versions of the libraries that move scores."""
        return asdict(self) | {"versions": {name: version(name) for name in LIBRARIES}}


def read_checkpoint(path: Path, *, key: str = "checkpoint") -> dict[str, Any]:
    """A checkpoint of this project as plain data, its recipe checked; raises UserError for anything else.

    key: of the command, under which the file was given.
    """
    if not path.is_file():
        raise UserError(f"{key}={path}: no such file")
    try:
        checkpoint = read_plain(path)
    except Refused as err:
        raise UserError(f"{key}={path}: refused: {err}") from err
    if not isinstance(checkpoint, Mapping) or KEY not in checkpoint:
        raise UserError(f"{key}={path}: not written by scripts/train.py (it has no {KEY!r} entry)")
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{key}={path}: its state_dict is none of tensors")
    try:
        check_recipe(checkpoint)
    except UserError as err:
        raise UserError(f"{key}={path}: {err}") from err
    return dict(checkpoint)


def read_recipe(checkpoint: Mapping[str, Any]) -> Recipe:
    """The recipe in a checkpoint of ours, or of read_checkpoint."""
    return Recipe(**{name: value for name, value in checkpoint[KEY].items() if name != "versions"})


def check_recipe(checkpoint: Mapping[str, Any]) -> None:
    """Raise UserError for a recipe that no training writes."""
    recipe, known = checkpoint[KEY], {part.name for part in fields(Recipe)}
    if not isinstance(recipe, Mapping) or not {"net", "faces"} <= set(recipe) <= {*known, "versions"}:
        raise UserError("its recipe has not the entries of this version of deepfake")
    apart = ("net", "protocol", "versions")
    check_plain({name: value for name, value in recipe.items() if name not in apart}, "recipe")
    check_net(recipe["net"])
    check_protocol(recipe.get("protocol"))
    check_use(read_recipe(checkpoint))


def check_use(recipe: Recipe) -> None:
    """Raise UserError for a recipe by which no video can be sampled, scored and judged."""
    if not isinstance(recipe.net, Mapping) or not isinstance(recipe.net.get("input"), Mapping):
        raise UserError("its net has no input spec")
    try:
        _ = recipe.face_settings
        known = {
            "window_rule": recipe.window_rule in WINDOW_RULES,
            "track_rule": recipe.track_rule in TRACK_RULES,
            "threshold": 0 <= recipe.threshold < 1.001,  # above 1: nothing is called fake
            "temperature": recipe.temperature > 0,
            "calibrate": isinstance(recipe.calibrate, bool),
            "undetermined_margin": 0 <= recipe.undetermined_margin <= 1,
            "min_track_share": 0 <= recipe.min_track_share <= 1,
            "eval_windows": recipe.eval_windows is None or operator.index(recipe.eval_windows) >= 1,
            "eval_hop": recipe.eval_hop is None or operator.index(recipe.eval_hop) >= 1,
        }
    except TypeError as err:
        raise UserError(f"its recipe has a value of another kind ({err})") from err
    if wrong := [name for name, fits in known.items() if not fits]:
        raise UserError(f"recipe.{wrong[0]}={getattr(recipe, wrong[0])!r} refused: no such rule or share")


def check_protocol(protocol: Any) -> None:
    """Raise UserError unless a protocol is empty or what protocols.stamp gives."""
    if not protocol:
        return
    try:
        texts = [protocol["name"], protocol["hash"]]
        for split in ("train", "val"):
            seen = Footprint.from_dict(protocol["seen"][split]).to_dict()
            texts += [name for names in seen.values() for name in names]
    except (AttributeError, KeyError, TypeError) as err:
        raise UserError(f"its protocol does not say what was seen ({type(err).__name__})") from err
    if not all(isinstance(text, str) for text in texts):
        raise UserError("its protocol does not say by name what was seen")


def read_detector(path: Path, *, device: str = "cpu") -> tuple[Detector, Recipe]:
    """The detector of a checkpoint, ready to score, and its recipe.

    Raises UserError for a file that is no checkpoint, or one whose weights are not those of its net.
    """
    checkpoint = read_checkpoint(path)
    recipe = read_recipe(checkpoint)
    state = checkpoint["state_dict"]
    weights = {k.removeprefix(WEIGHTS): v for k, v in state.items() if str(k).startswith(WEIGHTS)}
    try:
        detector = build_net(recipe.net, weights)
        detector.load_state_dict(weights)
    except (ValueError, TypeError, InstantiationException, RuntimeError) as err:
        raise UserError(f"checkpoint={path}: {' '.join(str(err).split())}") from err
    return detector.eval().to(device), recipe


def build_net(net: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Detector:
    """The detector of a net for these weights, which are not in it yet.

    It is built without memory first: raises UserError if the weights have other shapes or other types, or are
    no finite numbers, so that a small file cannot ask for a large net.
    """
    if broken := next((name for name, value in weights.items() if not value.isfinite().all()), None):
        raise UserError(f"its weights {broken} are not finite numbers: the training that wrote it had failed")
    plain = without_downloads(net)
    try:
        with torch.device("meta"):
            outline = build(plain, only=NETS)
    except NotImplementedError:  # a net that computes while it is made
        outline = None
    if not isinstance(outline, Detector | None):
        raise UserError(f"its net is a {type(outline).__name__}, no Detector")
    if outline is not None:
        wanted = outline.state_dict()
        if shapes(wanted) != shapes(weights):
            raise UserError(
                f"its weights are not those of its net: {first_difference(shapes(wanted), shapes(weights))}"
            )
        for name, value in wanted.items():
            if name in weights and weights[name].is_floating_point() != value.is_floating_point():
                raise UserError(f"its weights {name} are {weights[name].dtype}, not {value.dtype}")
    detector: Detector = build(plain, only=NETS)
    return detector


def without_downloads(net: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with pretrained off at every depth: the checkpoint's weights replace them anyway."""

    def without(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: False if name == "pretrained" else without(part) for name, part in value.items()}
        return [without(part) for part in value] if isinstance(value, list | tuple) else value

    return dict(without(net))
