"""Write a detector as one file that other programs can run, with a model card beside it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.functional import interpolate

from deepfake.config import to_plain
from deepfake.errors import Stopped, UserError
from deepfake.io import atomic_path, short_path
from deepfake.models.detector import Detector
from deepfake.prediction.export import make_card, to_onnx, to_pt2, write_card
from deepfake.prediction.onnx_detector import CROPS, make_metadata, package, session
from deepfake.records import InputSpec
from deepfake.tasks.build import choose_detector

log = logging.getLogger(__name__)

FRAMES_A_CALL = 32  # of which speed is measured
BLOTCHES = 8  # a side of a random crop
ROUNDINGS = 10

Run = Callable[[Tensor], Tensor]
"""Crops (B, T, 3, H, W) uint8 -> logits (B,)."""


class Format(NamedTuple):
    """make: content of a detector and its metadata. open: content -> what it does to crops."""

    suffix: str
    engine: str
    make: Callable[[Detector, str], bytes]
    open: Callable[[bytes], Run]


def open_onnx(content: bytes) -> Run:
    """What onnxruntime makes of an ONNX file."""
    opened = session(content)
    return lambda crops: torch.from_numpy(opened.run(None, {CROPS: crops.numpy()})[0])


def open_pt2(content: bytes) -> Run:
    """What PyTorch makes of a .pt2 file of our own, without the code of the detector."""
    return torch.export.load(io.BytesIO(content)).module()


FORMATS = {
    "onnx": Format(".onnx", "onnxruntime", to_onnx, open_onnx),
    "torch_export": Format(".pt2", "torch.export", to_pt2, open_pt2),
}


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Make the file, hold it against PyTorch, then write it and its card.

    Raises UserError for a missing package and a file that is there already, Stopped if the
    file would not say what PyTorch says.
    """
    config = to_plain(cfg)
    kind = FORMATS[config["format"]]
    if kind.suffix == ".onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            package(name)
    source = Path(config["checkpoint"] or config["weights"] or "")
    output = chosen_output(config, kind, run_dir / f"{source.stem}{kind.suffix}")
    loaded = choose_detector(cfg, device="cpu")
    detector, checkpoint = loaded.detector, loaded.checkpoint
    if not isinstance(detector, Detector):
        raise UserError(f"checkpoint={source}: exported already; give the checkpoint that it was made of")
    fingerprints = {
        "network": loaded.fingerprint,
        "preprocessing": loaded.preprocessing_fingerprint,
        source.name: loaded.sha256,
    }
    content = kind.make(detector, json.dumps(make_metadata(detector, checkpoint, fingerprints)))
    exported = kind.open(content)
    found = check(detector, exported, tolerance=config["tolerance"])
    speed = compare_speed(
        {"PyTorch": detector, kind.engine: exported}, detector.input, repeats=config["repeats"]
    )
    with atomic_path(output, durable=True) as part:
        part.write_bytes(content)
    file = {
        "name": output.name,
        "format": config["format"],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    card = {
        **make_card(detector, checkpoint, source=source),
        "file": file,
        "fingerprints": fingerprints,
        "check": found,
        "speed": speed,
        "versions": checkpoint.to_dict()["versions"],
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    cards = write_card(output.parent, output.stem, card)
    tell(found, speed)
    log.info(
        "%s (%.1f MB), %s",
        short_path(output),
        len(content) / 1e6,
        " and ".join(short_path(card) for card in cards),
    )


def chosen_output(config: Mapping[str, Any], kind: Format, default: Path) -> Path:
    """Where the file goes; raises UserError if it may not go there."""
    if config["output"] is None:
        return default
    output = Path(config["output"])
    if output.suffix != kind.suffix:
        raise UserError(f"output={output}: format={config['format']} makes {kind.suffix} files; call it so")
    if output.exists() and not config["overwrite"]:
        raise UserError(f"output={output}: is there already; add overwrite=true, or name another file")
    return output


def check(detector: Detector, exported: Run, *, tolerance: float) -> dict[str, Any]:
    """How far the file is from PyTorch on random crops of several shapes; raises Stopped if it is too far.

    Where such crops drive a network to extremes, PyTorch's own rounding is larger than tolerance: ten times
    that, told by the same network in double precision, is as near as a file can be asked to be.
    """
    random = torch.Generator().manual_seed(0)
    window, size = detector.input.window, detector.input.size
    shapes = list(dict.fromkeys([(1, 1), (1, window), (2, window + 1), (3, 2), (5, window)]))
    exact = deepcopy(detector).double()
    worst, largest = 0.0, 0.0
    for shape in shapes:
        crops = random_crops(*shape, size, random)
        with torch.inference_mode():
            ours, theirs, true = detector(crops), exported(crops), exact(crops)
        difference, rounding = (ours - theirs).abs(), (ours - true).abs().max()
        if not (difference <= tolerance * ours.abs().clamp(min=1) + ROUNDINGS * rounding).all():
            raise Stopped(
                f"nothing was written: on random crops {tuple(crops.shape)} the file's logits are up to "
                f"{float(difference.max()):.2g} from PyTorch's, more than tolerance={tolerance:g}"
            )
        worst, largest = max(worst, float(difference.max())), max(largest, float(ours.abs().max()))
    return {
        "largest_difference": worst,
        "largest_logit": largest,
        "tolerance": tolerance,
        "shapes": [f"{batch}×{length}" for batch, length in shapes],
    }


def compare_speed(sides: Mapping[str, Run], spec: InputSpec, *, repeats: int) -> dict[str, Any] | None:
    """Windows a second of each side, in turns on the same crops and threads; None if repeats is 0.

    A first round is not counted.
    """
    if not repeats:
        return None
    windows = max(1, FRAMES_A_CALL // spec.window)
    crops = random_crops(windows, spec.window, spec.size, torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for name, run in sides.items():
                start = perf_counter()
                run(crops)
                seconds[name].append(perf_counter() - start)
    return {
        "windows_per_s": {name: windows / median(own[1:]) for name, own in seconds.items()},
        "windows": windows,
        "frames": spec.window,
        "threads": torch.get_num_threads(),
    }


def random_crops(batch: int, window: int, size: int, random: torch.Generator) -> Tensor:
    """Blotches, (batch, window, 3, size, size) uint8, of many lightnesses and contrasts.

    Finer noise is like nothing that a detector was trained on, and can drive one where floats run out.
    """
    coarse = torch.rand((batch * window, 3, BLOTCHES, BLOTCHES), generator=random)
    low, high = torch.rand((2, batch * window, 1, 1, 1), generator=random)
    pictures = interpolate(low + coarse * (high - low), size=size, mode="bilinear")
    return (255 * pictures).to(torch.uint8).unflatten(0, (batch, window))


def tell(found: Mapping[str, Any], speed: Mapping[str, Any] | None) -> None:
    """What was found out about the file, on the terminal."""
    log.info(
        "largest difference from PyTorch %.1e, on logits of up to %.3g; random crops, windows×frames %s",
        found["largest_difference"],
        found["largest_logit"],
        ", ".join(found["shapes"]),
    )
    if speed:
        rates = ", ".join(f"{name} {rate:.3g}" for name, rate in speed["windows_per_s"].items())
        log.info(
            "windows/s on this CPU: %s (%d windows of %d frames a call, %d threads)",
            rates,
            speed["windows"],
            speed["frames"],
            speed["threads"],
        )
