"""A detector as an ONNX file whose graph can be parted in two; onnx_detector.py reads it."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from deepfake.models.detector import Detector
from deepfake.prediction.onnx_detector import (
    CROPS,
    FRAME_FEATURES,
    FRAMES,
    LOGIT,
    WINDOW_FEATURES,
    package,
)
from deepfake.training.checkpoint import KEY

OPSET = 20
IR_VERSION = 10  # that of this opset's time, which older runtimes read


class FramePart(nn.Module):
    """A detector's way from frames to features."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) uint8 -> (N, F)."""
        return self.detector.features(frames)


class WindowPart(nn.Module):
    """A detector's way from features to logits."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, features: Tensor) -> Tensor:
        """Features of windows (B, T, F) -> logits (B,)."""
        return self.detector.logits(features)


def to_onnx(detector: Detector, notes: str) -> bytes:
    """A detector on the CPU as the content of an ONNX file: crops (B, T, 3, H, W) uint8 -> logit (B,).

    notes: of make_notes, as JSON. Raises UserError if a package that this takes is missing.
    """
    onnx = package("onnx")
    size, num_features = detector.input.size, int(detector.backbone.num_features)  # type: ignore[arg-type]
    frames = torch.zeros(3, 3, size, size, dtype=torch.uint8)
    frame_part = graph_of(FramePart(detector), frames, FRAMES, FRAME_FEATURES, any_size=1)
    features = torch.zeros(3, 5, num_features)
    window_part = graph_of(WindowPart(detector), features, WINDOW_FEATURES, LOGIT, any_size=2)
    graph = joined(frame_part, window_part, size=size, num_features=num_features)
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="deepfake",
    )
    onnx.helper.set_model_props(model, {KEY: notes})
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
