"""The detector: a backbone sees frames, a head scores windows; frames that windows share are seen once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from deepfake.records import InputSpec

CPU_FRAMES, CPU_WINDOWS = 8, 16  # per chunk: Meso-4 takes half as long per frame as with 32, by its caches
GPU_FRAMES, GPU_WINDOWS = 64, 1024  # 1,024 windows of 16 frames of 1,280 features each are 84 MB

Read = Callable[[np.ndarray], Tensor]
"""Numbers of frames (n,), ascending -> their crops (n, 3, H, W) uint8."""


class Detector(nn.Module):
    """Logit that a window shows a fake face: crops (B, T, 3, H, W) uint8 -> (B,) float32.

    backbone: normalised frames (N, 3, H, W) -> (N, backbone.num_features); backbone.layers are its parts in
    order, and the output of backbone.map_layer, maps (N, C, h, w), still tells places apart: heat maps are
    made of it. head: makes the head from that number. input: what crops must look like; they are normalised
    here, on the device. channels_last: lay maps out channel by pixel, which is faster on many devices.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: Callable[[int], nn.Module],
        input: InputSpec,
        *,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone = backbone.to(memory_format=self.memory_format)
        self.head = head(int(backbone.num_features))  # type: ignore[arg-type]
        self.input = input
        for name, values in ("mean", input.mean), ("std", input.std):
            rgb = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, rgb, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.mean.device

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all weights with their names, types and shapes, in hexadecimal digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # bytes, since numpy knows no bfloat16; a scalar has none to be viewed as
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, T, 3, H, W) uint8 -> logits (B,)."""
        batch, window = crops.shape[:2]
        return self.logits(self.features(crops.flatten(0, 1)).view(batch, window, -1))

    def score(self, windows: np.ndarray, read: Read) -> Tensor:
        """Logits (W,) of windows, (W, T) numbers of frames, which are read a few at a time, each once."""
        return score_windows(self, windows, read)

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) uint8 -> (N, F); frames shared by several windows need this only once."""
        # bytes would lose their last bits in half precision
        normalised = (frames.float() / 255 - self.mean.float()) / self.std.float()
        return self.backbone(normalised.to(self.mean.dtype, memory_format=self.memory_format))

    def logits(self, features: Tensor) -> Tensor:
        """Features of windows (B, T, F) -> logits (B,) float32, also in the midst of mixed precision."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.to(self.mean.dtype)).float()


class Parts(Protocol):
    """A detector in two parts, such as a Detector, whose tensors lie on one device."""

    @property
    def device(self) -> torch.device:
        """Where frames go, and where features and logits come back."""

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) uint8 -> (N, F)."""

    def logits(self, features: Tensor) -> Tensor:
        """Features of windows (B, T, F) -> logits (B,) float32."""


def score_windows(
    detector: Parts,
    windows: np.ndarray,
    read: Read,
    *,
    frames_at_once: int | None = None,
    windows_at_once: int | None = None,
) -> Tensor:
    """Logits (W,) float32 of windows, on the detector's device; validation, test and prediction all use this.

    windows: each one's frames, (W, T) integers with W > 0, such as rows of a store file; every frame is read
    once. frames_at_once, windows_at_once: size of a chunk; None is what suits the device. On a CPU each chunk
    is filled up to that size, because a matrix product may round by the number of its rows: a window has the
    same logit to the last digit whatever other windows are scored with it.
    """
    on_cpu = detector.device.type == "cpu"
    frames, place = np.unique(windows, return_inverse=True)
    place = place.reshape(windows.shape)

    def features_of(chunk: slice, size: int) -> Tensor:
        return detector.features(fill_up(read(frames[chunk]).to(detector.device), size))

    def logits_of(chunk: slice, size: int) -> Tensor:
        return detector.logits(fill_up(features[torch.from_numpy(place[chunk]).to(features.device)], size))

    with torch.inference_mode():
        frames_at_once = frames_at_once or (CPU_FRAMES if on_cpu else GPU_FRAMES)
        features = in_chunks(features_of, len(frames), frames_at_once, fixed=on_cpu)
        windows_at_once = windows_at_once or (CPU_WINDOWS if on_cpu else GPU_WINDOWS)
        return in_chunks(logits_of, len(place), windows_at_once, fixed=on_cpu)


def in_chunks(function: Callable[[slice, int], Tensor], count: int, size: int, *, fixed: bool) -> Tensor:
    """function(chunk, rows it must have) of all chunks of at most size, without the rows that were added."""
    results = []
    for start in range(0, count, size):
        own = min(size, count - start)
        results.append(function(slice(start, start + own), size if fixed else own)[:own])
    return torch.cat(results)


def fill_up(rows: Tensor, size: int) -> Tensor:
    """The rows, and the last one again until there are so many."""
    missing = size - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows
