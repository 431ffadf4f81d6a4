"""What a checkpoint holds, and how one is read: as data that may be from anybody, checked before use."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from torch import Tensor

from deepfake.config import NETS, build
from deepfake.data.windows import EvalSettings
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.io import package_version
from deepfake.models.detector import Detector
from deepfake.models.weights import Refused, first_difference, read_plain, shapes
from deepfake.scoring.aggregate import TRACK_RULES, WINDOW_RULES
from deepfake.scoring.decision import Decision

LARGEST = 65_536  # of any number in a checkpoint's settings: pixels, frames, layers, hidden units
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
        if not abs(values) <= LARGEST:  # nor NaN; isfinite takes no integer of 400 digits
            raise UserError(f"{place}={values!r:.80} refused: must be a number up to {LARGEST}")
    elif values is not None:
        raise UserError(f"{place} refused: {type(values).__name__} is no plain value")


def check_net(net: Any, place: str = "net") -> None:
    """Raise UserError if a plain net has others of Hydra's keys than HYDRA_KEYS, or fetches something."""
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


SETTINGS = {"faces": FaceSettings, "decision": Decision, "evaluation": EvalSettings}
KEY = "deepfake"
WEIGHTS = "detector."
LIBRARIES = ("deepfake", "torch", "torchvision", "timm", "pytorch-lightning", "facenet-pytorch")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How to rebuild a detector and use it as it was trained.

    net: config of the Detector. faces: how the crops that it was trained on were made. decision: threshold
    and temperature are fitted on the validation split, the threshold by threshold_rule (None where that is
    unknown). evaluation: which windows validation and test score. protocol: name, hash and footprint of the
    split that it was trained by; None before training. weights: the detector's state dict; empty before they
    are read from a file or where a module in training has them.
    """

    net: dict[str, Any]
    faces: FaceSettings
    decision: Decision = field(default_factory=Decision)
    evaluation: EvalSettings = field(default_factory=EvalSettings)
    threshold_rule: str | None = None
    protocol: dict[str, Any] | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """All but the weights as plain values, with the versions of the libraries that move scores."""
        values = asdict(replace(self, weights={}))
        del values["weights"]
        return values | {"versions": {name: package_version(name) for name in LIBRARIES}}

    @classmethod
    def from_dict(cls, values: Any, weights: Mapping[str, Tensor] | None = None) -> Checkpoint:
        """Inverse of to_dict; the values may be from anybody.

        Raises UserError for what no training writes, and for values by which no video can be sampled, scored
        and decided.
        """
        known = {part.name for part in fields(cls)} - {"weights"}
        if not isinstance(values, Mapping) or not known <= set(values) <= {*known, "versions"}:
            raise UserError("its settings have not the entries of this version of deepfake")
        check_plain(values["net"], "net")
        check_net(values["net"])
        if not isinstance(values["net"], Mapping) or not isinstance(values["net"].get("input"), Mapping):
            raise UserError("its net has no input spec")
        check_plain(values["threshold_rule"], "threshold_rule")
        check_protocol(values["protocol"])
        try:
            nested = {name: read_settings(kind, values[name], name) for name, kind in SETTINGS.items()}
            plain = {name: values[name] for name in ("net", "threshold_rule", "protocol")}
            checkpoint = cls(**plain, **nested, weights=weights or {})
            check_ranges(checkpoint.decision, checkpoint.evaluation)
        except TypeError as err:
            raise UserError(f"its settings have a value of another kind ({err})") from err
        return checkpoint


def read_settings(kind: type[Any], values: Any, name: str) -> Any:
    """Settings of a kind from plain values; raises UserError, or TypeError for a value of another kind."""
    if not isinstance(values, Mapping):
        raise UserError(f"{name} refused: no settings but a {type(values).__name__}")
    if wrong := {str(key) for key in values} ^ {part.name for part in fields(kind)}:
        raise UserError(f"{name} has other entries than in this version: {sorted(wrong)!s:.200}")
    check_plain(values, name)
    return kind(**values)


def check_ranges(decision: Decision, evaluation: EvalSettings) -> None:
    """Raise UserError naming the first value that no training writes, TypeError for one of another kind."""
    most, hop = evaluation.max_windows, evaluation.hop
    valid = {
        "window_rule": decision.window_rule in WINDOW_RULES,
        "track_rule": decision.track_rule in TRACK_RULES,
        "threshold": 0 <= decision.threshold < 1.001,  # above 1: nothing is called fake
        "temperature": decision.temperature > 0,
        "calibrate": isinstance(decision.calibrate, bool),
        "undetermined_margin": 0 <= decision.undetermined_margin <= 1,
        "min_track_share": 0 <= evaluation.min_track_share <= 1,
        "max_windows": most is None or operator.index(most) >= 1,
        "hop": hop is None or operator.index(hop) >= 1,
    }
    values = asdict(decision) | asdict(evaluation)
    if wrong := next((name for name, fits in valid.items() if not fits), None):
        raise UserError(f"{wrong}={values[wrong]!r} refused: no rule of that name, or a number out of range")


def read_content(path: Path, *, key: str = "checkpoint") -> dict[str, Any]:
    """All that a checkpoint of this project holds, as plain data; raises UserError for any other file.

    key: of the command, under which the file was given.
    """
    if not path.is_file():
        raise UserError(f"{key}={path}: no such file")
    try:
        content = read_plain(path)
    except Refused as err:
        raise UserError(f"{key}={path}: refused: {err}") from err
    if not isinstance(content, Mapping) or KEY not in content:
        raise UserError(f"{key}={path}: not written by scripts/train.py (it has no {KEY!r} entry)")
    state = content.get("state_dict")
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{key}={path}: its state_dict holds something else than tensors")
    return dict(content)


def read_checkpoint(path: Path, *, key: str = "checkpoint") -> Checkpoint:
    """The checkpoint in a file, checked; raises UserError for what scripts/train.py does not write."""
    content = read_content(path, key=key)
    weights = {
        k.removeprefix(WEIGHTS): v for k, v in content["state_dict"].items() if str(k).startswith(WEIGHTS)
    }
    try:
        return Checkpoint.from_dict(content[KEY], weights)
    except UserError as err:
        raise UserError(f"{key}={path}: {err}") from err


def check_protocol(protocol: Any) -> None:
    """Raise UserError unless a protocol is empty or what protocols.stamp gives."""
    if not protocol:
        return
    from deepfake.corpora.leakage import Footprint  # the library does without corpora

    try:
        texts = [protocol["name"], protocol["hash"]]
        for split in ("train", "val"):
            seen = Footprint.from_dict(protocol["seen"][split]).to_dict()
            texts += [name for names in seen.values() for name in names]
    except (AttributeError, KeyError, TypeError) as err:
        raise UserError(f"its protocol does not say what was seen ({type(err).__name__})") from err
    if not all(isinstance(text, str) for text in texts):
        raise UserError("its protocol does not say by name what was seen")


def read_detector(path: Path, *, device: str = "cpu") -> tuple[Detector, Checkpoint]:
    """The detector of a checkpoint, ready to score, and the checkpoint.

    Raises UserError for a file that is no checkpoint, or one whose weights are not those of its net.
    """
    checkpoint = read_checkpoint(path)
    try:
        detector = build_net(checkpoint.net, checkpoint.weights)
        detector.load_state_dict(checkpoint.weights)
    except (ValueError, TypeError, InstantiationException, RuntimeError) as err:
        raise UserError(f"checkpoint={path}: {' '.join(str(err).split())}") from err
    # the detector has them now: held twice, they would only take memory
    return detector.eval().to(device), replace(checkpoint, weights={})


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


def without_downloads(net: Any) -> Any:
    """The same config with pretrained off at every depth: the checkpoint's weights replace them anyway."""
    if isinstance(net, Mapping):
        return {name: name != "pretrained" and without_downloads(part) for name, part in net.items()}
    return [without_downloads(part) for part in net] if isinstance(net, list | tuple) else net


def check_resume(path: Path, own: Checkpoint) -> None:
    """Raise UserError unless a training that would write such checkpoints can resume from this one."""
    check_paths(read_content(path, key="resume").get("callbacks") or {}, path)
    old = read_checkpoint(path, key="resume")
    for name in ("net", "faces"):
        if getattr(old, name) != getattr(own, name):
            raise UserError(
                f"resume={path}: its {name} settings are not those of this command; repeat the overrides "
                f"in {path.parent.parent / '.hydra' / 'overrides.yaml'}"
            )


def check_paths(states: Any, path: Path) -> None:
    """Raise UserError if the callbacks of a resumed checkpoint name checkpoints of another folder.

    Lightning reads the best of them after training, and deletes those that a better one replaces.
    """
    if not isinstance(states, Mapping) or not all(isinstance(state, Mapping) for state in states.values()):
        raise UserError(f"resume={path}: its callbacks have no states")
    for state in states.values():
        named = [state.get(f"{kind}_model_path") for kind in ("best", "last", "kth_best")]
        for name in filter(None, [*named, *(state.get("best_k_models") or ())]):
            plain = isinstance(name, str) and ".." not in Path(name).parts and "://" not in name
            if not plain or Path(name).suffix != ".ckpt" or Path(name).parent.name != path.parent.name:
                raise UserError(f"resume={path}: it names a checkpoint that is not of its run: {name!r:.80}")
