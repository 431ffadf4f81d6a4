"""ONNX files of scripts/export.py, run by onnxruntime; their metadata holds the checkpoint.

The graph's one input is crops, its one output logit. Between them it has three tensors at which it can be cut
in two: frames -> frame_features and window_features -> logit. Prediction does so, so that windows that share
frames cost no more than in PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepfake.errors import UserError
from deepfake.models.detector import Detector, Read, score_windows
from deepfake.prediction.onnx_checks import check_sizes, check_tensors
from deepfake.records import InputSpec
from deepfake.training.checkpoint import KEY, Checkpoint, check_plain

log = logging.getLogger(__name__)

FORMAT = 1


def make_metadata(
    detector: Detector, checkpoint: Checkpoint, fingerprints: Mapping[str, str]
) -> dict[str, Any]:
    """Plain values: input (of InputSpec), the checkpoint, and what tells this detector from any other.

    Of the protocol its name and hash are kept; who was seen in training stays in the checkpoint.
    """
    stamp = checkpoint.protocol
    return {
        "format": FORMAT,
        "input": asdict(detector.input),
        "checkpoint": replace(checkpoint, protocol=None).to_dict(),
        "protocol": stamp and {name: stamp[name] for name in ("name", "hash")},
        "fingerprints": dict(fingerprints),
    }


def read_metadata(text: str, path: Path) -> tuple[InputSpec, Checkpoint]:
    """Input and checkpoint in the metadata of the file at path; raises UserError if they are not ours."""
    try:
        metadata = json.loads(text)
        if metadata["format"] != FORMAT:
            raise UserError(
                f"its metadata has format {metadata['format']!r:.80}, and this version reads {FORMAT}"
            )
        checkpoint, stamp = Checkpoint.from_dict(metadata["checkpoint"]), metadata["protocol"]
        check_plain(metadata["input"], "input")
        if stamp is not None:
            stamp = {name: str(stamp[name]) for name in ("name", "hash")}
        return InputSpec(**metadata["input"]), replace(checkpoint, protocol=stamp)
    except UserError as err:
        raise UserError(f"checkpoint={path}: {err}; export it anew") from err
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        raise UserError(
            f"checkpoint={path}: damaged metadata ({type(err).__name__}: {err!s:.80}); export it anew"
        ) from err


CROPS, FRAMES, FRAME_FEATURES, WINDOW_FEATURES, LOGIT = (
    "crops frames frame_features window_features logit".split()
)
CUDA = "CUDAExecutionProvider"


class OnnxDetector:
    """The detector in an ONNX file, as its two parts; tensors come and go on the CPU.

    Raises UserError if one of the parts asks for more memory than a detector does.

    fingerprint: SHA-256 of the file, since what its metadata say of the weights may be wrong. device: "cuda"
    asks for onnxruntime's GPU package, and does without where it is not installed.
    """

    device = torch.device("cpu")

    def __init__(self, model: Any, input: InputSpec, *, fingerprint: str, device: str = "cpu") -> None:
        self.input = input
        self.fingerprint = fingerprint
        frames, windows = part(model, FRAMES, FRAME_FEATURES), part(model, WINDOW_FEATURES, LOGIT)
        check_sizes(frames, (1, 3, input.size, input.size))
        check_sizes(windows, (1, input.window))
        self.frames = session(frames.SerializeToString(), device=device)
        self.windows = session(windows.SerializeToString(), device=device)

    def score(self, windows: np.ndarray, read: Read) -> Tensor:
        """Logits (W,) of windows, (W, T) numbers of frames, which are read a few at a time, each once."""
        return score_windows(self, windows, read)

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) uint8 -> (N, F)."""
        return torch.from_numpy(self.frames.run(None, {FRAMES: frames.numpy()})[0])

    def logits(self, features: Tensor) -> Tensor:
        """Features of windows (B, T, F) -> logits (B,) float32."""
        return torch.from_numpy(self.windows.run(None, {WINDOW_FEATURES: features.numpy()})[0])


def load_onnx(path: Path, *, device: str = "cpu") -> tuple[OnnxDetector, Checkpoint]:
    """The detector in a file of scripts/export.py and its checkpoint; raises UserError for other files."""
    if not path.is_file():
        raise UserError(f"checkpoint={path}: no such file")
    onnx, _ = package("onnx"), package("onnxruntime")
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as err:
        raise UserError(f"checkpoint={path}: not a readable ONNX file ({type(err).__name__})") from err
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if KEY not in metadata:
        raise UserError(f"checkpoint={path}: not written by scripts/export.py (it has no {KEY!r} entry)")
    spec, checkpoint = read_metadata(metadata[KEY], path)
    check_graph(model.graph, spec, path)
    try:
        check_tensors(model)
        fingerprint = hashlib.sha256(content).hexdigest()
        return OnnxDetector(model, spec, fingerprint=fingerprint, device=device), checkpoint
    except UserError as err:
        raise UserError(f"checkpoint={path}: {err}; export it anew") from err
    except Exception as err:
        reason = (str(err).strip() or type(err).__name__).splitlines()[0][:200]
        raise UserError(
            f"checkpoint={path}: onnxruntime refuses its graph ({reason}); export it anew"
        ) from err


def check_graph(graph: Any, spec: InputSpec, path: Path) -> None:
    """Raise UserError unless a graph has the inputs, outputs and tensors between that export gives it."""
    wanted = {
        "input": [(CROPS, "UINT8", (None, None, 3, spec.size, spec.size))],
        "output": [(LOGIT, "FLOAT", (None,))],
    }
    for side, signature in wanted.items():
        found = [describe(value) for value in getattr(graph, side)]
        if found != signature:
            raise UserError(f"checkpoint={path}: its {side} is {found}, not {signature}; export it anew")
    known = {value.name for value in graph.value_info}
    if lacking := [name for name in (FRAMES, FRAME_FEATURES, WINDOW_FEATURES) if name not in known]:
        raise UserError(f"checkpoint={path}: its graph has no tensor {lacking[0]}; export it anew")


def describe(value: Any) -> tuple[str, str, tuple[int | None, ...]]:
    """Name, type and dimensions (None = any) of an input or output of a graph."""
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return value.name, package("onnx").TensorProto.DataType.Name(tensor.elem_type), dims


def part(model: Any, start: str, end: str) -> Any:
    """What lies between two tensors of a graph, as a model of its own."""
    return package("onnx").utils.Extractor(model).extract_model([start], [end])


def session(content: bytes, *, device: str = "cpu") -> Any:
    """An onnxruntime session of a file's content, with as many threads as PyTorch has in this process."""
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # else the threads of one session keep cores busy for a while after each call, while another works
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        if CUDA in runtime.get_available_providers():
            providers = [CUDA, *providers]
        else:
            log.warning("ONNX runs on the CPU: this onnxruntime has no CUDA (pip install onnxruntime-gpu)")
    return runtime.InferenceSession(content, options, providers=providers)


def package(name: str) -> Any:
    """A package of the extra `export`; raises UserError saying how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as err:
        raise UserError(
            f"{name} is not installed, and ONNX files need it: uv sync --extra export installs it"
        ) from err
