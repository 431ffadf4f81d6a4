"""Small frozen records that all stages share; shapes and ranges are checked on construction.

Pixel coordinates are x to the right and y down, in the video as shown (rotation applied); boxes are
(x0, y0, x1, y1). Label 1 is fake, 0 is real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepfake.errors import UserError

REAL, FAKE = 0, 1
SPLITS = ("train", "val", "test")
MAX_INPUT = 4096  # pixels of a crop, frames of a window


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One video file of a corpus and what is known about it.

    key: unique in the corpus, a relative posix path without suffix such as "Deepfakes/c23/519_515".
    method: name of the manipulation, "real" for a real video.
    identities: the person seen and, of a fake, the person whose face was used, each as "<dataset>:<id>";
    empty if unknown.
    partner: key of the real video that a fake was made from, if it is in the corpus.
    clip: name of the footage shown, the same for a real video and the fakes made from it.
    footage: recordings that the identities were filmed in, in their order; empty if unknown.
    mask: video of the manipulated region, if there is one.
    split: "train", "val" or "test"; None before a protocol assigns one.
    """

    key: str
    path: Path
    corpus: str
    label: int
    method: str
    identities: tuple[str, ...] = ()
    partner: str | None = None
    clip: str | None = None
    footage: tuple[str, ...] = ()
    mask: Path | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if self.label not in (REAL, FAKE):
            raise ValueError(f"{self.key}: label must be 0 (real) or 1 (fake), not {self.label!r}")
        if self.split is not None and self.split not in SPLITS:
            raise ValueError(f"{self.key}: split must be one of {SPLITS}, not {self.split!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Result of probing a file: size in pixels as shown (rotation applied), length in frames, rate in 1/s.

    duration_s: from the first shown frame's start to the last one's end, or None if unknown.
    """

    num_frames: int
    fps: float
    width: int
    height: int
    rotation_deg: int
    codec: str
    container: str
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames in order: rgb, N arrays (H, W, 3) uint8; index (N,) int64 in the video, time_s (N,) float64."""

    rgb: Sequence[np.ndarray]
    index: np.ndarray
    time_s: np.ndarray

    def __post_init__(self) -> None:
        num = len(self.rgb)
        if self.index.shape != (num,) or self.time_s.shape != (num,):
            raise ValueError(f"{num} frames with index {self.index.shape} and time_s {self.time_s.shape}")

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True, slots=True)
class Detections:
    """All faces of one frame: boxes (F, 4) and landmarks (F, 5, 2) in pixels, scores (F,), all float32.

    Landmarks: left eye, right eye, nose, left and right corner of the mouth, as they appear in the image.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __post_init__(self) -> None:
        num = len(self.boxes)
        shapes = (self.boxes.shape, self.scores.shape, self.landmarks.shape)
        if shapes != ((num, 4), (num,), (num, 5, 2)):
            raise ValueError(f"boxes, scores, landmarks have shapes {shapes}, not (F, 4), (F,), (F, 5, 2)")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """The input that a detector expects; it belongs to the model and is stored in its checkpoint.

    size: side of the square crop in pixels. margin: side of the crop over the longer side of the face box.
    mean, std: per RGB channel, of values in [0, 1]. window: frames per window. stride: sampled frames from
    one frame of a window to the next (1 = adjacent). size, window and stride are at most 4096.
    """

    size: int
    margin: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    window: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if len(self.mean) != 3 or len(self.std) != 3:
            raise UserError(f"mean {self.mean} and std {self.std} need one value each for R, G and B")
        if min(self.size, self.window, self.stride) < 1 or self.margin < 1 or min(self.std) <= 0:
            raise UserError(f"size, window, stride, margin must be at least 1 and std above 0: {self}")
        whole = all(isinstance(number, int) for number in (self.size, self.window, self.stride))
        if not whole or max(self.size, self.window, self.stride) > MAX_INPUT or self.margin > MAX_INPUT:
            raise UserError(f"size, window, stride must be whole numbers of at most {MAX_INPUT}: {self}")

    @property
    def span(self) -> int:
        """Sampled frames from a window's first frame to its last, inclusive."""
        return (self.window - 1) * self.stride + 1


class Window(NamedTuple):
    """Frames of one face that a detector scores together; video, track and start identify it.

    video: row in the manifest. track: face track in that video. start: index of the first frame in the
    video. rows: the frames' rows in the video's store file. seed: of the random augmentation.
    """

    video: int
    track: int
    start: int
    rows: tuple[int, ...]
    seed: int = 0
