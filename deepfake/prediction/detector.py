"""A detector with all that its use needs: network, settings of crops and windows, decision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from deepfake.config import NETS, build
from deepfake.errors import UserError
from deepfake.faces.settings import SAMPLING, TRACKING, FaceSettings
from deepfake.models.detector import Detector, Read
from deepfake.records import InputSpec
from deepfake.scoring.decision import Decision
from deepfake.training.checkpoint import Checkpoint, read_detector, without_downloads

ENOUGH_FRAMES = 16  # on which a person is seen, for being scored however long others were


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


@dataclass(frozen=True)
class LoadedDetector:
    """A detector ready to score, its checkpoint, the file it came from, and the device that it is on."""

    detector: Scorer
    checkpoint: Checkpoint
    path: Path
    device: str = "cpu"

    def with_decision(self, decision: Decision) -> LoadedDetector:
        """The same with other rules or another threshold."""
        return replace(self, checkpoint=replace(self.checkpoint, decision=decision))

    @cached_property
    def sha256(self) -> str:
        """Of the file."""
        return sha256(self.path)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the network: its weights, or the exported file, and the config that builds it."""
        return hash_of({"net": self.checkpoint.net, "weights": self.detector.fingerprint})

    @property
    def preprocessing(self) -> dict[str, Any]:
        """All that decides the windows that are scored: extraction settings, crops, choice of windows."""
        windows = self.checkpoint.evaluation
        return {
            "faces": self.checkpoint.faces.to_dict(),
            "input": {k: v for k, v in self.checkpoint.net["input"].items() if k != "_target_"},
            "windows": {
                "most_a_track": windows.max_windows,
                "hop": windows.hop,
                "min_track_share": windows.min_track_share,
                "enough_frames": ENOUGH_FRAMES,
            },
        }

    @property
    def preprocessing_fingerprint(self) -> str:
        """SHA-256 of the preprocessing."""
        return hash_of(self.preprocessing)

    @property
    def job(self) -> str:
        """SHA-256 of what a prediction depends on besides the file: equal ones give equal predictions."""
        return hash_of(
            {
                "model": self.fingerprint,
                "preprocessing": self.preprocessing,
                "decision": asdict(self.checkpoint.decision),
            }
        )


def load_detector(
    path: str | Path,
    *,
    device: str = "auto",
    net: Mapping[str, Any] | None = None,
    faces: Mapping[str, Any] | None = None,
) -> LoadedDetector:
    """The detector of a checkpoint, of an ONNX file of scripts/export.py, or of published weights.

    device: "cpu", "cuda", or "auto", a GPU where there is one. net: config of the network that published
    weights are for, such as model.net of a command; None for the two files that bring their own. faces: what
    is asked for in place of the settings of its training, see choose_crops. The file is read as data: nothing
    in it runs. Raises UserError for a file that is not there or none of the three, for crops that the
    detector cannot use, and for published weights without a head that tells fake from real.
    """
    path = Path(path)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    detector: Scorer
    if net is not None:
        detector, checkpoint = load_published(path, dict(net), device)
    elif path.suffix == ".onnx":
        from deepfake.prediction.onnx_detector import load_onnx

        detector, checkpoint = load_onnx(path, device=device)
    elif path.suffix == ".pt2":
        raise UserError(
            f"checkpoint={path}: torch.export.load would run whatever code a .pt2 file holds, so it is not "
            "read here; use the checkpoint that it was made of, or scripts/export.py format=onnx"
        )
    else:
        detector, checkpoint = read_detector(path, device=device)
    checkpoint = choose_crops(checkpoint, detector.input, faces or {}, free=net is not None)
    return LoadedDetector(detector, checkpoint, path, device)


def load_published(path: Path, net: dict[str, Any], device: str) -> tuple[Detector, Checkpoint]:
    """The network of a config with published weights; all else is the default, as nothing was fitted."""
    from deepfake.models.published import read_weights
    from deepfake.models.weights import load_weights

    weights = read_weights(path)
    if weights.ours:
        raise UserError(f"weights={path}: our own checkpoint; use checkpoint={path}")
    detector: Detector = build(without_downloads(net), only=NETS)
    if not load_weights(detector, weights):
        raise UserError(
            f"weights={path}: no head of this model's kind in it ({weights.made_for}), so it cannot "
            "tell real from fake yet; train one: scripts/train.py weights=…"
        )
    return detector.eval().to(device), Checkpoint(net=net, faces=FaceSettings())


def choose_crops(
    trained: Checkpoint, spec: InputSpec, asked: Mapping[str, Any], *, free: bool = False
) -> Checkpoint:
    """The checkpoint with the crops and windows that a detector gets: as trained, then what was asked for.

    asked: values of conf/faces by name; None means as trained, num_clips="all" every frame. Unless free, only
    how much of a video is sampled and who is who may be asked for: how a face is cut out of a frame belongs
    to the weights. Where every frame is asked for, every window is scored; where fewer clips are, the windows
    of a clip are scored as densely as in validation, at least one per clip. Raises UserError for other
    changes, and for crops that are too tight, or clips that are too short, for the detector.
    """
    own, evaluation = trained.faces, trained.evaluation
    values = {name: value for name, value in asked.items() if value is not None}
    faces = FaceSettings.from_dict(own.to_dict() | values)
    fixed = replace(own, **{name: getattr(faces, name) for name in (*SAMPLING, *TRACKING)})
    if not free and (changed := faces.differences(fixed)):
        raise UserError(f"faces: a checkpoint brings its own settings; leave these away: {changed}")
    if spec.margin > faces.margin:
        raise UserError(
            f"faces.margin={faces.margin}: the model wants wider crops; add faces.margin={spec.margin}"
        )
    if faces.num_clips is not None and spec.span > faces.clip_frames:
        raise UserError(
            f"faces.clip_frames={faces.clip_frames}: the model's window spans {spec.span} frames; add "
            f"faces.clip_frames={spec.span}"
        )
    if faces.num_clips is None:
        if values.get("num_clips") is not None:
            evaluation = replace(evaluation, max_windows=None, hop=1)
    elif own.num_clips is not None and evaluation.max_windows and faces.num_clips < own.num_clips:
        as_dense = ceil(evaluation.max_windows * faces.num_clips / own.num_clips)
        most = min(evaluation.max_windows, max(as_dense, faces.num_clips))
        evaluation = replace(evaluation, max_windows=most)
    return replace(trained, faces=faces, evaluation=evaluation)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of(values: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
