"""Windows of stored crops as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from deepfake.data.transforms import Sample, WindowTransform, fit, fit_points
from deepfake.faces.crop import decode_jpeg
from deepfake.faces.store import FaceStore, read_faces
from deepfake.faces.video_faces import VideoFaces
from deepfake.records import InputSpec, Window


class Batch(NamedTuple):
    """Windows with their keys: crops (B, T, 3, H, W) uint8, label (B,) float32, the rest (B,) int64."""

    crops: Tensor
    label: Tensor
    video: Tensor
    track: Tensor
    start: Tensor


class WindowDataset(Dataset[Batch]):
    """Crops and keys of a Window; it is indexed by the Window itself, which a WindowSampler plans."""

    def __init__(
        self,
        store: FaceStore,
        keys: Sequence[str],
        labels: Sequence[int],
        spec: InputSpec,
        transform: WindowTransform | None = None,
    ) -> None:
        self.store = store
        self.keys = list(keys)
        self.labels = list(labels)
        self.spec = spec
        self.transform = transform

    def __getitem__(self, window: Window) -> Batch:
        sample = self.read(window)
        if self.transform is not None:
            sample = self.transform(sample, window.seed)
        return Batch(
            to_tensor(sample.frames),
            torch.tensor(sample.label, dtype=torch.float32),
            torch.tensor(window.video),
            torch.tensor(window.track),
            torch.tensor(window.start),
        )

    def read(self, window: Window) -> Sample:
        """The window as it is stored, before any random change."""
        path = self.store.path_of(self.keys[window.video])
        faces = cached_faces(path, path.stat().st_mtime_ns)
        return Sample(
            window_crops(faces, window.rows, self.spec),
            window_landmarks(faces, window.rows, self.spec),
            self.labels[window.video],
        )


def window_crops(faces: VideoFaces, rows: Iterable[int], spec: InputSpec) -> np.ndarray:
    """Crops of some rows of a video's faces as the model sees them, (T, size, size, 3) uint8."""
    margin = faces.settings.margin
    return np.stack([fit(decode_jpeg(jpeg), spec, stored_margin=margin) for jpeg in faces.jpegs(rows)])


def window_landmarks(faces: VideoFaces, rows: Sequence[int], spec: InputSpec) -> np.ndarray:
    """The five landmarks in the pixels of window_crops, (T, 5, 2) float32."""
    points, squares = (
        np.stack([column[row].values.to_numpy() for row in rows])
        for column in (faces.table.column("landmarks"), faces.table.column("square"))
    )
    settings = faces.settings
    return np.stack(
        [
            fit_points(p, s, spec, stored_margin=settings.margin, max_crop_px=settings.max_crop_px)
            for p, s in zip(points.reshape(-1, 5, 2), squares, strict=True)
        ]
    )


def to_tensor(frames: np.ndarray) -> Tensor:
    """Frames (T, H, W, 3) -> (T, 3, H, W), contiguous."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


@lru_cache(maxsize=256)
def cached_faces(path: Path, mtime_ns: int) -> VideoFaces:
    """A memory-mapped store file, kept open in this process; mtime_ns tells a rewritten file apart."""
    return read_faces(path)


Plan = Callable[[int], list[Window]]
"""Epoch -> all its windows, in order."""


class WindowSampler(Sampler[Window]):
    """The windows of an epoch, this process's share of them; Lightning tells it the epoch.

    Process rank of num_processes takes every num_processes-th one.
    With even=True the last ones are left out of shares that would be longer than others, since training
    processes must take the same number of steps; for scoring nothing is left out.
    """

    def __init__(self, plan: Plan, *, rank: int = 0, num_processes: int = 1, even: bool = False) -> None:
        self.plan = plan
        self.rank = rank
        self.num_processes = num_processes
        self.even = even
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Plan the windows of an epoch."""
        windows = self.plan(epoch)
        if self.even:
            windows = windows[: len(windows) // self.num_processes * self.num_processes]
        self.windows = windows[self.rank :: self.num_processes]

    def __iter__(self) -> Iterator[Window]:
        return iter(self.windows)

    def __len__(self) -> int:
        return len(self.windows)
