"""Datasets of windows of stored crops, and the sampler of training windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from deepfake.data.augment import Sample, WindowTransform
from deepfake.data.crops import fit, to_tensor, window_crops, window_landmarks
from deepfake.data.distortions import ClipDistortion
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces, decode_jpeg, read_faces
from deepfake.records import InputSpec, Window


class Batch(NamedTuple):
    """Windows with their keys: crops (B, T, 3, H, W) uint8, label (B,) float32, the rest (B,) int64."""

    crops: Tensor
    label: Tensor
    video: Tensor
    track: Tensor
    start: Tensor


class SharedFrames(NamedTuple):
    """Windows that share frames: frames (N, 3, H, W) uint8, each once; place: (W, T) int64, rows of frames.

    label, video, track and start are those of a Batch, (W,). frame: (W, T) int64, indices in the video.
    """

    frames: Tensor
    place: Tensor
    label: Tensor
    video: Tensor
    track: Tensor
    start: Tensor
    frame: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCrops:
    """Crops of a manifest's videos: keys and labels by row of the manifest; spec: input of the model."""

    store: FaceStore
    keys: Sequence[str]
    labels: Sequence[int]
    spec: InputSpec

    def faces(self, video: int) -> VideoFaces:
        """The faces of a video; opened once in each process."""
        path = self.store.path_of(self.keys[video])
        return cached_faces(path, path.stat().st_mtime_ns)


class WindowDataset(Dataset[Batch]):
    """Batches of one window; the index is the Window itself, from a WindowSampler."""

    def __init__(self, stored: StoredCrops, transform: WindowTransform | None = None) -> None:
        self.stored = stored
        self.transform = transform

    def __getitem__(self, window: Window) -> Batch:
        sample = self.read(window)
        if self.transform is not None:
            sample = self.transform(sample, window.seed)
        label = torch.tensor(sample.label, dtype=torch.float32)
        return Batch(to_tensor(sample.frames), label, *map(torch.tensor, window[:3]))

    def read(self, window: Window) -> Sample:
        """The window as it is stored, before any random change."""
        faces, spec = self.stored.faces(window.video), self.stored.spec
        return Sample(
            window_crops(faces, window.rows, spec),
            window_landmarks(faces, window.rows, spec),
            self.stored.labels[window.video],
        )


class SharedFramesDataset(Dataset[SharedFrames]):
    """Windows to be scored, several at a time; the index is a list of them, and each frame is read once.

    distortion: applied to whole clips of stored crops, before the model's part is cut out.
    """

    def __init__(self, stored: StoredCrops, distortion: ClipDistortion | None = None) -> None:
        self.stored = stored
        self.distortion = distortion

    def __getitem__(self, windows: Sequence[Window]) -> SharedFrames:
        rows: dict[int, dict[int, None]] = {}  # of each video, in order, each once
        for window in windows:
            rows.setdefault(window.video, {}).update(dict.fromkeys(window.rows))
        keys = [(video, row) for video, own in rows.items() for row in own]
        place = {key: number for number, key in enumerate(keys)}
        frames = np.concatenate([self.crops(video, list(own)) for video, own in rows.items()])
        video, track, start = torch.tensor([window[:3] for window in windows]).T
        index = [self.stored.faces(window.video).column("frame")[list(window.rows)] for window in windows]
        return SharedFrames(
            to_tensor(frames),
            torch.tensor([[place[window.video, row] for row in window.rows] for window in windows]),
            torch.tensor([self.stored.labels[window.video] for window in windows], dtype=torch.float32),
            video,
            track,
            start,
            torch.from_numpy(np.stack(index)),
        )

    def crops(self, video: int, rows: Sequence[int]) -> np.ndarray:
        """Crops of some rows of a video as the model sees them, (R, size, size, 3) uint8."""
        faces, spec = self.stored.faces(video), self.stored.spec
        if self.distortion is None:
            return window_crops(faces, rows, spec)
        distorted = distorted_crops(faces, rows, self.distortion, key=self.stored.keys[video])
        return np.stack([fit(crop, spec, stored_margin=faces.settings.margin) for crop in distorted])


def distorted_crops(
    faces: VideoFaces, rows: Sequence[int], distortion: ClipDistortion, *, key: str
) -> list[np.ndarray]:
    """Stored crops (S, S, 3) of some rows of the video key, each from its whole distorted clip."""
    tracks, clips = faces.column("track"), faces.column("clip")
    found: dict[int, np.ndarray] = {}
    for track, clip in sorted({(int(tracks[row]), int(clips[row])) for row in rows}):
        whole = np.flatnonzero((tracks == track) & (clips == clip)).tolist()
        crops = [decode_jpeg(jpeg) for jpeg in faces.jpegs(whole)]
        distorted = distortion(crops, video=key, track=track, clip=clip)
        found |= dict(zip(whole, distorted, strict=True))
    return [found[row] for row in rows]


@lru_cache(maxsize=256)
def cached_faces(path: Path, mtime_ns: int) -> VideoFaces:
    """A memory-mapped store file, kept open in this process; mtime_ns changes if the file is rewritten."""
    return read_faces(path)


class WindowSampler(Sampler[Window]):
    """This process's share of the training windows of an epoch; Lightning calls set_epoch.

    plan: epoch -> all its windows, in order.
    Process number rank takes every num_processes-th window, so that all processes together train on the same
    windows as a single one; together: this many neighbours go to one process. Shares that would be longer
    than others lose their last windows, since all processes must take the same number of steps.
    """

    def __init__(
        self,
        plan: Callable[[int], list[Window]],
        *,
        epoch: int = 0,
        rank: int = 0,
        num_processes: int = 1,
        together: int = 1,
    ) -> None:
        self.plan = plan
        self.rank = rank
        self.num_processes = num_processes
        self.together = together
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows of an epoch."""
        windows, size = self.plan(epoch), self.together
        even = len(windows) // size // self.num_processes * self.num_processes
        groups = (windows[size * n : size * (n + 1)] for n in range(self.rank, even, self.num_processes))
        self.windows = [window for group in groups for window in group]

    def __iter__(self) -> Iterator[Window]:
        return iter(self.windows)

    def __len__(self) -> int:
        return len(self.windows)
