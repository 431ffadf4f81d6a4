"""The two layouts in which trained MesoNets are handed on, turned into ours: fake is 1, maps are C, H, W."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count
from math import isqrt
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deepfake.errors import UserError
from deepfake.models.mesonet import CHANNELS, Meso4, MesoInception4
from deepfake.models.weights import Refused, Weights, read_plain

BY_CONVOLUTIONS: dict[int, type[Meso4 | MesoInception4]] = {4: Meso4, 16: MesoInception4}
KINDS = {"conv2d": nn.Conv2d, "batch_normalization": nn.BatchNorm2d, "dense": nn.Linear}
TORCH_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# RGB / 255. The authors crop 1.3 times a square round their landmarks; of MTCNN's box that is about 1.6
KERAS_INPUT = {"margin": 1.6, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
# facenet-pytorch's MTCNN with a margin of 10 of the crop's 224 pixels
TORCH_INPUT = {"margin": 1.05, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TORCH_EPS, OUR_EPS = 1e-5, 1e-3
MAX_DEPTH, MAX_MEMBERS = 8, 4096  # of an HDF5 file's groups, and their members in all

Layers = dict[str, list[dict[str, Tensor]]]


def mesonet_from_keras(path: Path) -> Weights:
    """Meso4 or MesoInception4 of github.com/DariusAf/MesoNet, weights or whole model; there 1 means real.

    Raises UserError for a Keras file of any other network.
    """
    layers = read_keras(path)
    network = BY_CONVOLUTIONS.get(len(layers["conv2d"]))
    counts = [len(layers[kind]) for kind in KINDS]
    if network is None or counts[1:] != [4, 2]:
        found = ", ".join(f"{count} {kind}" for count, kind in zip(counts, KINDS, strict=True))
        raise UserError(
            f"weights={path}: a Keras file of {found} layers; only Meso4 (4, 4 and 2 of them) and "
            "MesoInception4 (16, 4 and 2) are known"
        )
    names = layer_names(network)
    dense, last = layers["dense"]
    image_size = size_of(path, dense.get("weight", torch.empty(0, 0)))
    side = image_size // 32
    # Keras flattens maps as (H, W, C)
    dense["weight"] = dense["weight"].view(-1, side, side, CHANNELS).permute(0, 3, 1, 2).flatten(1)
    # 1 - sigmoid(x) = sigmoid(-x)
    last |= {name: -value for name, value in last.items()}
    return Weights(
        path=path,
        made_for=f"{network.__name__} of {image_size} px",
        state={
            f"{name}.{weight}": value
            for kind in KINDS
            for name, layer in zip(names[kind], layers[kind], strict=True)
            for weight, value in layer.items()
        },
        input={"image_size": image_size, **KERAS_INPUT},
    )


def meso4_from_torch(path: Path, state: Mapping[str, Tensor]) -> Weights:
    """Meso4 of github.com/maragori/DeepfakeForensics-v1: "convs.0" … "linear.4", fake is 1.

    Its convolutions have no bias, and its BatchNorms PyTorch's own epsilon, 1e-5.
    """
    ours = {"linear.1": "backbone.dense", "linear.4": "head.linear"}
    for block in range(4):
        ours |= {f"convs.{4 * block + i}": f"backbone.blocks.{block}.{i}" for i in (0, 2)}
    renamed = {}
    for name, value in state.items():
        layer, _, weight = name.rpartition(".")
        renamed[f"{ours.get(layer, layer)}.{weight}"] = value
    for block in range(4):
        conv, norm = (f"backbone.blocks.{block}.{i}" for i in (0, 2))
        if {f"{conv}.weight", f"{norm}.weight", f"{norm}.running_var"} <= set(renamed):
            renamed.setdefault(f"{conv}.bias", torch.zeros(len(renamed[f"{conv}.weight"])))
            # gamma / sqrt(var + eps) stays what it was
            variance = renamed[f"{norm}.running_var"]
            gain = ((variance + OUR_EPS) / (variance + TORCH_EPS)).sqrt()
            renamed[f"{norm}.weight"] = renamed[f"{norm}.weight"] * gain
    image_size = size_of(path, state.get("linear.1.weight", torch.empty(0, 0)))
    return Weights(
        path=path,
        made_for=f"Meso4 of {image_size} px",
        state=renamed,
        input={"image_size": image_size, **TORCH_INPUT},
    )


def size_of(path: Path, dense: Tensor) -> int:
    """Image size in pixels for a dense layer (16, 16·side²) over maps of 1/32 of it, or a UserError."""
    side = isqrt(dense.shape[1] // CHANNELS) if dense.ndim == 2 else 0
    if side < 1 or dense.shape[1] != CHANNELS * side**2:
        raise UserError(
            f"weights={path}: its first dense layer {tuple(dense.shape)} does not see a MesoNet's square "
            "maps; only Meso4 and MesoInception4 are known"
        )
    return 32 * side


def layer_names(network: type[Meso4 | MesoInception4]) -> dict[str, list[str]]:
    """A network's layers as a detector names them, of each kind in the order of their making."""
    with torch.device("meta"):  # only names are wanted, and no random numbers drawn
        modules = list(network().named_modules())
    names = {
        kind: [f"backbone.{name}" for name, module in modules if isinstance(module, cls)]
        for kind, cls in KINDS.items()
    }
    names["dense"].append("head.linear")
    return names


def read_keras(path: Path) -> Layers:
    """Layers of each kind in the order of their making (conv2d_9 before conv2d_10), in torch's layout.

    Raises UserError for a file that leads to other files, or declares more numbers than it holds.
    """
    found: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    left = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            for name, item in datasets(inner(file, "model_weights") or file, count(1)):
                layer, weight = name.split("/")[-2:] if "/" in name else ("", name)
                if (torch_name := TORCH_NAMES.get(weight.partition(":")[0])) is None:
                    continue
                left -= item.nbytes
                if left < 0 or item.dtype.kind != "f" or item.is_virtual or item.external or item.chunks:
                    raise ValueError(f"{weight} of {layer} are not plain numbers within the file")
                found[layer][torch_name] = torch.from_numpy(to_torch_layout(item[()]))
    except (OSError, RuntimeError, TypeError, ValueError, KeyError) as err:
        reason = " ".join(str(err).split())
        raise UserError(f"weights={path}: damaged HDF5 file or none of Keras ({reason})") from err
    order: dict[str, list[tuple[int, str]]] = {kind: [] for kind in KINDS}
    for layer in found:
        parts = re.fullmatch(r"(.*?)(?:_(\d+))?", layer)
        if parts and parts[1] in order:
            order[parts[1]].append((int(parts[2] or 0), layer))
    return {kind: [found[layer] for _, layer in sorted(layers)] for kind, layers in order.items()}


def datasets(
    group: h5py.Group, visits: Iterator[int], above: str = "", depth: int = 0
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset below a group and its path; raises ValueError for links, which may lead elsewhere.

    visits: counts members, one by one: with hard links a small file has one member on any number of paths.
    """
    for name in group:
        if depth > MAX_DEPTH or next(visits) > MAX_MEMBERS:
            raise ValueError(f"its groups are more than {MAX_DEPTH} deep or hold more than {MAX_MEMBERS}")
        item = inner(group, name)
        if isinstance(item, h5py.Group):
            yield from datasets(item, visits, f"{above}{name}/", depth + 1)
        elif isinstance(item, h5py.Dataset):
            yield f"{above}{name}", item


def inner(group: h5py.Group, name: str) -> Any:
    """A member of a group that lies in the same file; None if there is none of that name."""
    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link, which can lead to another file")
    return group.get(name)


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    """A kernel (H, W, in, out) or (in, out) as (out, in, H, W) or (out, in); any other array as it is."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, tuple(range(array.ndim)))
    return np.ascontiguousarray(array.transpose(axes), dtype=np.float32)


KNOWN = (
    "MesoNet's Keras .h5 and checkpoint-N.pth.tar of Meso4, timm's EfficientNets (.pth, .safetensors), "
    "checkpoints of this project"
)
INPUT_KEYS = {"size": "image_size", "margin": "margin", "mean": "mean", "std": "std"}


def read_weights(path: Path) -> Weights:
    """The weights in a file of any layout in KNOWN, whatever its name; raises UserError for anything else."""
    if not path.is_file():
        raise UserError(f"weights={path}: no such file")
    weights = recognise(path)
    if broken := next((name for name, value in weights.state.items() if not value.isfinite().all()), None):
        raise UserError(
            f"weights={path}: its {broken} has values that are not finite; no net scores with that"
        )
    return weights


def recognise(path: Path) -> Weights:
    """The weights in a file by its layout."""
    if h5py.is_hdf5(path):
        return mesonet_from_keras(path)
    content = read_tensors(path)
    if isinstance(content, Mapping) and {"deepfake", "state_dict"} <= set(content):
        return from_checkpoint(path, content)
    state = find_state(content)
    if {"convs.0.weight", "linear.4.weight"} <= set(state):
        return meso4_from_torch(path, state)
    if "conv_stem.weight" in state:
        # the classifier of other classes is left out
        kept = {f"backbone.net.{k}": v for k, v in state.items() if not k.startswith("classifier.")}
        return Weights(path=path, made_for="an EfficientNet of timm", state=kept, input={})
    begin = f"it begins with {', '.join(list(state)[:3])}" if state else "no tensors with names in it"
    raise UserError(f"weights={path}: not a known layout ({begin}); known are {KNOWN}")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON header in 8 bytes, then the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def read_tensors(path: Path) -> Any:
    """What a file of safetensors or torch.save holds; raises UserError, with the reason, if that is code."""
    try:
        return load_file(path) if is_safetensors(path) else read_plain(path)
    except SafetensorError as err:
        raise UserError(f"weights={path}: damaged safetensors file ({err}); fetch it again") from err
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
