"""Files of published weights, told apart by their content and read as data: nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deepfake.errors import UserError
from deepfake.models.mesonet_files import meso4_from_torch, mesonet_from_keras
from deepfake.models.torch_files import Refused, read_plain
from deepfake.models.weights import Weights

KNOWN = (
    "MesoNet's Keras .h5 and checkpoint-N.pth.tar of Meso4, timm's EfficientNets (.pth, .safetensors), "
    "checkpoints of this project"
)
INPUT_KEYS = {"size": "image_size", "margin": "margin", "mean": "mean", "std": "std"}


def read_weights(path: Path) -> Weights:
    """The weights in a file of any layout in KNOWN, whatever its name; raises UserError for anything else."""
    if not path.is_file():
        raise UserError(f"weights={path}: no such file")
    weights = recognised(path)
    for name, value in weights.state.items():
        if not value.isfinite().all():
            raise UserError(
                f"weights={path}: its {name} holds what is no finite number; no net scores with that"
            )
    return weights


def recognised(path: Path) -> Weights:
    """The weights in a file by its layout."""
    if h5py.is_hdf5(path):
        return mesonet_from_keras(path)
    content = read_safetensors(path) if is_safetensors(path) else read_pickle(path)
    if isinstance(content, Mapping) and {"deepfake", "state_dict"} <= set(content):
        return from_checkpoint(path, content)
    state = find_state(content)
    if {"convs.0.weight", "linear.4.weight"} <= set(state):
        return meso4_from_torch(path, state)
    if "conv_stem.weight" in state:
        return from_timm(path, state)
    begin = f"it begins with {', '.join(list(state)[:3])}" if state else "no tensors with names in it"
    raise UserError(f"weights={path}: not a known layout ({begin}); known are {KNOWN}")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON header in 8 bytes, then the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file by name."""
    try:
        return load_file(path)
    except SafetensorError as err:
        raise UserError(f"weights={path}: damaged safetensors file ({err}); fetch it again") from err


def read_pickle(path: Path) -> Any:
    """What torch.save wrote; raises UserError, naming what it would have called, if it is more than data."""
    try:
        return read_plain(path)
    except Refused as err:
        raise UserError(
            f"weights={path}: refused: {err}; only tensors in plain dicts are read: ask for a state dict, "
            f"torch.save(model.state_dict(), FILE), or safetensors. Known are {KNOWN}"
        ) from err


def find_state(content: Any) -> dict[str, Tensor]:
    """The state dict in what was read, bare or in the usual envelopes; empty if there is none."""
    if not isinstance(content, Mapping):
        return {}
    for envelope in ("model", "state_dict", "model_state_dict"):
        if isinstance(content.get(envelope), Mapping):
            content = content[envelope]
            break
    # DataParallel puts "module." before every name
    return {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}


def from_timm(path: Path, state: Mapping[str, Tensor]) -> Weights:
    """An EfficientNet of timm; its classifier of other classes is left out."""
    return Weights(
        path=path,
        made_for="an EfficientNet of timm",
        state={f"backbone.net.{k}": v for k, v in state.items() if not k.startswith("classifier.")},
        input={},
    )


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> Weights:
    """A checkpoint that scripts/train.py wrote, to be trained further on something else."""
    try:
        net, state = checkpoint["deepfake"]["net"], checkpoint["state_dict"]
        backbone = str(net["backbone"]["_target_"]).rpartition(".")[2]
        wanted = {ours: plain_numbers(net["input"][name]) for name, ours in INPUT_KEYS.items()}
        tensors = {k.removeprefix("detector."): v for k, v in state.items() if k.startswith("detector.")}
        if not all(isinstance(value, Tensor) for value in tensors.values()):
            raise TypeError("its state_dict is none of tensors")
    except (AttributeError, KeyError, TypeError) as err:
        raise UserError(f"weights={path}: no checkpoint as scripts/train.py writes it ({err})") from err
    made_for = f"{backbone} by this project"
    return Weights(path=path, made_for=made_for, state=tensors, input=wanted, ours=True)


def plain_numbers(value: Any) -> Any:
    """A number, or a list of three; raises TypeError for others, which would become part of the config."""
    numbers = value if isinstance(value, list | tuple) and len(value) == 3 else [value]
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError(f"{value!r:.80} in its input spec is no number")
    return list(value) if isinstance(value, list | tuple) else value
