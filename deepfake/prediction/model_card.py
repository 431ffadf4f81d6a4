"""What people must know of a detector before they use it, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfake.models.detector import Detector
from deepfake.training.checkpoint import Recipe

FORMAT = 1
MEANING = (
    "The file gives a logit for each window of a face; sigmoid makes it a prob of fake from 0 (real) to 1 "
    "(fake). A track's prob is joined from its windows', a video's from its tracks'. It is this network's "
    "opinion, and not the chance that a video is fake, which also hangs on how many of your videos are."
)
INTENDED_USE = (
    "To point people to videos, faces and moments that deserve a closer look, and to compare detectors.",
    "Not as proof, and not to decide about anybody without a person who looks.",
    "Not for manipulations of anything but faces: voices, texts, bodies, scenes, whole generated pictures.",
)


def make_card(detector: Detector, recipe: Recipe, *, source: Path) -> dict[str, Any]:
    """A card without what is only known of a file: score, input, limits, results of the training.

    source: the checkpoint, or the file of published weights; metrics.json of its run folder is taken over.
    """
    decision, spec = recipe.decision, detector.input
    backbone = detector.backbone
    name = recipe.net.get("backbone", {}).get("name")
    metrics, note = found_metrics(source)
    return {
        "format": FORMAT,
        "network": {
            "backbone": type(backbone).__name__,
            "head": type(detector.head).__name__,
            "name": name,
            "parameters": sum(values.numel() for values in detector.parameters()),
        },
        "score": {
            "meaning": MEANING,
            "threshold": decision.cut,
            "threshold_origin": threshold_origin(recipe),
            "temperature": decision.temperature,
            "calibrated": decision.calibrate,
            "undetermined_margin": decision.undetermined_margin,
            "window_rule": decision.window_rule,
            "track_rule": decision.track_rule,
        },
        "input": {
            **asdict(spec),
            "mean": list(spec.mean),
            "std": list(spec.std),
            "dtype": "uint8",
            "colours": "RGB",
        },
        "faces": recipe.face_settings.to_dict(),
        "protocol": recipe.protocol and {name: recipe.protocol[name] for name in ("name", "hash")},
        "metrics": metrics,
        "metrics_note": note,
        "intended_use": list(INTENDED_USE),
        "limits": limits(recipe),
    }


def threshold_origin(recipe: Recipe) -> str:
    """Who chose the threshold."""
    if recipe.protocol is None:
        return "nobody fitted it to these weights; 0.5 is the middle"
    rule = f" (rule {recipe.threshold_rule})" if recipe.threshold_rule else ""
    return f"fitted on the validation split of {recipe.protocol['name']}{rule}"


def found_metrics(source: Path) -> tuple[dict[str, Any] | None, str]:
    """metrics.json of the training that a checkpoint is the best of, else None and why there is none."""
    file = source.parent.parent / "metrics.json"
    if source.suffix != ".ckpt":
        return None, "published weights: their results are told by those who published them"
    if source.name != "best.ckpt":
        return None, f"not measured: a run's metrics are those of its best.ckpt, and this is {source.name}"
    if not file.is_file():
        return None, "not measured: there is no metrics.json in the run folder"
    metrics: Mapping[str, Any] = json.loads(file.read_text())
    return dict(metrics), "metrics.json of the run folder"


def limits(recipe: Recipe) -> list[str]:
    """In which cases the detector is blind, or not to be believed."""
    faces, protocol = recipe.face_settings, recipe.protocol
    trained = f"the videos of {protocol['name']}" if protocol else "whatever its publishers chose"
    told = [
        f"It was trained on {trained}. It errs on cameras, compression and manipulations unlike those.",
        "It looks at every frame."
        if faces.num_clips is None
        else f"It looks at {faces.num_clips} clips of {faces.clip_frames} frames, evenly spread over a "
        "video; a manipulation between them is missed.",
        f"Faces smaller than {faces.min_face_px} px in a frame whose short side is {faces.short_side_px} px "
        "are not looked for, and faces turned away are often not found.",
        f"People seen on less than {recipe.min_track_share:.0%} of the frames of the longest seen are not "
        "scored.",
    ]
    if protocol and protocol["name"].startswith("demo"):
        told.insert(0, "Its training videos are drawn by a program: it says nothing of real deepfakes.")
    return told
