"""A detector as a file for other programs (ONNX or torch.export), and the model card that goes with it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, export, save
from torch.export._patches import register_lstm_while_loop_decomposition
from torch.fx import GraphModule

from deepfake.io import write_json, write_text
from deepfake.models.detector import Detector
from deepfake.prediction.onnx_detector import (
    CROPS,
    FRAME_FEATURES,
    FRAMES,
    LOGIT,
    WINDOW_FEATURES,
    package,
)
from deepfake.reports.html import environment, number
from deepfake.training.checkpoint import KEY, Checkpoint

METADATA = "deepfake.json"


def to_pt2(detector: Detector, metadata: str) -> bytes:
    """A detector on the CPU as the content of a .pt2 file: crops (B, T, 3, H, W) uint8 -> logit (B,).

    metadata: of make_metadata, as JSON, which torch.export.load(FILE, extra_files={METADATA: ""}) gives back.
    """
    crops = torch.zeros(3, 5, 3, detector.input.size, detector.input.size, dtype=torch.uint8)
    content = io.BytesIO()
    # torch would unroll an LSTM over the example's frames, and so fix the window
    with warnings.catch_warnings(), torch.no_grad(), register_lstm_while_loop_decomposition():
        warnings.simplefilter("ignore")
        program = export(detector, (crops,), dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},))
        for graph in (part.graph for part in program.graph_module.modules() if isinstance(part, GraphModule)):
            for node in graph.nodes:
                node.meta.pop("stack_trace", None)  # where in whose files the operation was called
        save(program, content, extra_files={METADATA: metadata})
    return content.getvalue()


OPSET = 20
IR_VERSION = 10  # that of this opset's time, which older runtimes read


class Part(nn.Module):
    """One step of a detector: features, (N, 3, H, W) uint8 -> (N, F), or logits, (B, T, F) -> (B,)."""

    def __init__(self, detector: Detector, step: str) -> None:
        super().__init__()
        self.detector = detector
        self.step = step

    def forward(self, values: Tensor) -> Tensor:
        """The step's outputs."""
        return getattr(self.detector, self.step)(values)


def to_onnx(detector: Detector, metadata: str) -> bytes:
    """A detector on the CPU as the content of an ONNX file: crops (B, T, 3, H, W) uint8 -> logit (B,).

    metadata: of make_metadata, as JSON. Raises UserError if a package that this takes is missing.
    """
    onnx = package("onnx")
    size, num_features = detector.input.size, int(detector.backbone.num_features)  # type: ignore[arg-type]
    frames = torch.zeros(3, 3, size, size, dtype=torch.uint8)
    frame_part = graph_of(Part(detector, "features"), frames, FRAMES, FRAME_FEATURES, any_size=1)
    features = torch.zeros(3, 5, num_features)
    window_part = graph_of(Part(detector, "logits"), features, WINDOW_FEATURES, LOGIT, any_size=2)
    graph = joined(frame_part, window_part, size=size, num_features=num_features)
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="deepfake",
    )
    onnx.helper.set_model_props(model, {KEY: metadata})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def graph_of(module: nn.Module, example: Tensor, start: str, end: str, *, any_size: int) -> Any:
    """An ONNX graph of a module, from a tensor named start to one named end; its names begin with start.

    any_size: so many first dimensions of the input are free.
    """
    package("onnxscript")
    onnx = package("onnx")
    for noisy in ("onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[start],
            output_names=[end],
            dynamic_shapes=(dict.fromkeys(range(any_size), Dim.DYNAMIC),),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    assert not model.functions
    graph = onnx.compose.add_prefix(model, f"{start}/", rename_inputs=False, rename_outputs=False).graph
    for node in graph.node:
        del node.metadata_props[:]  # where in whose files the operation was called
    return graph


def joined(frame_part: Any, window_part: Any, *, size: int, num_features: int) -> Any:
    """One graph from crops to logit: frames leave their windows, and their features return to them."""
    onnx = package("onnx")
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    constants = {
        "each_frame": np.array([-1, 3, size, size], np.int64),
        "all_features": np.array([num_features], np.int64),
    }
    return onnx.helper.make_graph(
        [
            node("Reshape", [CROPS, "each_frame"], [FRAMES]),
            *frame_part.node,
            node("Shape", [CROPS], ["batch_and_window"], start=0, end=2),
            node("Concat", ["batch_and_window", "all_features"], ["each_window"], axis=0),
            node("Reshape", [FRAME_FEATURES, "each_window"], [WINDOW_FEATURES]),
            *window_part.node,
        ],
        "detector",
        [tensor(CROPS, uint8, ["batch", "window", 3, size, size])],
        [tensor(LOGIT, float32, ["batch"])],
        initializer=[
            *(onnx.numpy_helper.from_array(values, name) for name, values in constants.items()),
            *frame_part.initializer,
            *window_part.initializer,
        ],
        value_info=[
            tensor(FRAMES, uint8, ["frames", 3, size, size]),
            tensor(FRAME_FEATURES, float32, ["frames", num_features]),
            tensor(WINDOW_FEATURES, float32, ["batch", "window", num_features]),
        ],
    )


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


def make_card(detector: Detector, checkpoint: Checkpoint, *, source: Path) -> dict[str, Any]:
    """A card without what is only known of a file: score, input, limits, results of the training.

    source: the checkpoint, or the file of published weights; metrics.json of its run folder is taken over.
    """
    decision, spec = checkpoint.decision, detector.input
    backbone = detector.backbone
    name = checkpoint.net.get("backbone", {}).get("name")
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
            "threshold_origin": threshold_origin(checkpoint),
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
        "faces": checkpoint.faces.to_dict(),
        "protocol": checkpoint.protocol and {name: checkpoint.protocol[name] for name in ("name", "hash")},
        "metrics": metrics,
        "metrics_note": note,
        "intended_use": list(INTENDED_USE),
        "limits": known_limits(checkpoint),
    }


def threshold_origin(checkpoint: Checkpoint) -> str:
    """Who chose the threshold."""
    if checkpoint.protocol is None:
        return "nobody fitted it to these weights; 0.5 is the middle"
    rule = f" (rule {checkpoint.threshold_rule})" if checkpoint.threshold_rule else ""
    return f"fitted on the validation split of {checkpoint.protocol['name']}{rule}"


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


def known_limits(checkpoint: Checkpoint) -> list[str]:
    """In which cases the detector is blind, or not to be believed."""
    faces, protocol = checkpoint.faces, checkpoint.protocol
    trained = f"the videos of {protocol['name']}" if protocol else "whatever its publishers chose"
    limits = [
        f"It was trained on {trained}. It errs on cameras, compression and manipulations unlike those.",
        "It looks at every frame."
        if faces.num_clips is None
        else f"It looks at {faces.num_clips} clips of {faces.clip_frames} frames, evenly spread over a "
        "video; a manipulation between them is missed.",
        f"Faces smaller than {faces.min_face_px} px in a frame whose short side is {faces.short_side_px} px "
        "are not looked for, and faces turned away are often not found.",
        f"People seen on less than {checkpoint.evaluation.min_track_share:.0%} of the frames of the longest "
        "seen are not scored.",
    ]
    if protocol and protocol["name"].startswith("demo"):
        limits.insert(0, "Its training videos are drawn by a program: it says nothing of real deepfakes.")
    return limits


RATES = {
    "video_auroc": "AUROC of videos",
    "video_ap": "average precision of videos",
    "video_eer": "equal error rate of videos",
    "video_accuracy": "accuracy of videos at the threshold",
    "video_balanced_accuracy": "balanced accuracy of videos at the threshold",
    "video_ece": "expected calibration error of videos",
    "frame_auroc": "AUROC of frames",
    "coverage": "share of videos in which a face was found",
    "videos": "videos",
}


def write_card(folder: Path, name: str, card: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write <name>.card.md and <name>.card.json into a folder; card: plain values, see make_card."""
    template = environment().get_template("model_card.md.j2")
    text = template.render(card=card, rates=rates(card["metrics"])) + "\n"
    files = folder / f"{name}.card.md", folder / f"{name}.card.json"
    write_text(files[0], text)
    write_json(files[1], card)
    return files


def rates(metrics: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """What metrics.json says, in words: rate, value, 95 % interval; without what is not defined."""
    rows = []
    for name, words in RATES.items():
        for stage in ("val", "test"):
            key = f"{stage}/{name}"
            if (value := (metrics or {}).get(key)) is None:
                continue
            assert metrics is not None
            low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
            interval = "" if low is None or high is None else f"{number(low)} to {number(high)}"
            rows.append((f"{words} ({stage})", number(value), interval))
    return rows
