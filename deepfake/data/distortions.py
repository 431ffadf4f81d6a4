"""Distortions at five levels: the seven of DeeperForensics-1.0 (Jiang et al., CVPR 2020), and recodings.

Levels and formulas of the seven follow the authors' code (github.com/EndlessSora/DeeperForensics-1.0,
perturbation/distortions.py and add_distortion_to_video.py, commit 4f6ecff), written anew for RGB windows of a
face, while theirs distorts whole BGR videos: sizes in pixels are those of the window, and values are
truncated, not rounded, as in theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple
from zlib import crc32

import av
import cv2
import numpy as np
import simplejpeg

from deepfake.data.augment import Sample, WindowTransform, check_rate
from deepfake.errors import UserError

LEVELS = (1, 2, 3, 4, 5)
BLOCK = 8
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# RGB of Y, Cr and Cb; the authors add noise to [16, 235] / 255 of Y and [16, 240] / 255 of Cb and Cr
RGB_OF_YCC = np.array([[1, 1, 1], [1.403, -0.714, 0], [0, -0.344, 1.773]], np.float32)
YCC_NOISE = 255 * np.array([255 / 219, 255 / 224, 255 / 224], np.float32)


def colour_saturation(frames: np.ndarray, kept: float, rng: np.random.Generator) -> np.ndarray:
    """CS: keeps a share of the colour."""
    grey = (frames @ LUMA)[..., None]
    return (grey + kept * (frames - grey)).astype(np.uint8)


def colour_contrast(frames: np.ndarray, kept: float, rng: np.random.Generator) -> np.ndarray:
    """CC: darkens all values."""
    return (frames * np.float32(kept)).astype(np.uint8)


def block_wise(frames: np.ndarray, blocks: int, rng: np.random.Generator) -> np.ndarray:
    """BW: grey blocks of 8 x 8 pixels at random places; blocks: in a picture of 256 pixels.

    Their number is in proportion to the side. The authors round the side down to multiples of 256, which
    would give windows of 224 pixels no block.
    """
    height, width = frames.shape[1:3]
    count = max(1, round(blocks * min(height, width) / 256))
    out = frames.copy()
    for frame in out:
        rows, columns = (rng.integers(max(side - BLOCK, 1), size=count) for side in (height, width))
        for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
            frame[y : y + BLOCK, x : x + BLOCK] = 128
    return out


def gaussian_noise(frames: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """GNC: white noise in luma and chroma; variance: of Y, Cb and Cr as the authors scale them."""
    std = np.sqrt(np.float32(variance)) * YCC_NOISE
    noise = rng.standard_normal(frames.shape, np.float32) @ (std[:, None] * RGB_OF_YCC)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def gaussian_blur(frames: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """GB: blur with a kernel of that side and a sigma of a sixth of it."""
    return np.stack([cv2.GaussianBlur(frame, (side, side), side / 6) for frame in frames])


def jpeg_compression(frames: np.ndarray, factor: int, rng: np.random.Generator) -> np.ndarray:
    """JPEG: shrinks and enlarges again, which is what the authors call JPEG."""
    height, width = frames.shape[1:3]
    small = (max(1, width // factor), max(1, height // factor))
    return np.stack([cv2.resize(cv2.resize(frame, small), (width, height)) for frame in frames])


def resize(frames: np.ndarray, kept: float, rng: np.random.Generator) -> np.ndarray:
    """Shrinks to a share of the side (area mean) and enlarges again (cubic)."""
    height, width = frames.shape[1:3]
    small = [max(1, round(side * kept)) for side in (width, height)]
    shrunk = [cv2.resize(frame, small, interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in shrunk])


def jpeg(frames: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    """Each frame through JPEG, with 4:2:0 chroma as in most files."""
    files = [
        simplejpeg.encode_jpeg(frame, quality=quality, colorsubsampling="420")
        for frame in np.ascontiguousarray(frames)
    ]
    return np.stack([simplejpeg.decode_jpeg(file) for file in files])


def h264(frames: np.ndarray, crf: int, rng: np.random.Generator) -> np.ndarray:
    """The frames as one video through H.264 with x264's default settings, in memory and with one thread."""
    height, width = frames.shape[1:3]
    over = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))  # yuv420p needs even sides
    frames = np.pad(frames, over, mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(encoder, av.VideoCodecContext)
    assert isinstance(decoder, av.VideoCodecContext)
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.framerate = "yuv420p", Fraction(25)
    # for threads and cpu-independent see video/write.py
    encoder.options = {"crf": str(crf), "threads": "1", "x264-params": "cpu-independent=1"}
    decoder.thread_count = 1
    packets = [
        packet
        for rgb in [*frames, None]
        for packet in encoder.encode(None if rgb is None else av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    ]
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    rgb = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    return np.ascontiguousarray(rgb[:, :height, :width])


class Distortion(NamedTuple):
    """A function of (frames (T, H, W, 3) uint8, value, rng) and its value at each of LEVELS."""

    function: Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
    values: tuple[float, ...]
    text: str

    def __call__(self, frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
        """Frames of the same shape; only noise and blocks use rng, and differ from frame to frame."""
        return self.function(frames, self.values[level - 1], rng)

    def setting(self, level: int) -> str:
        """Description of a level."""
        return self.text.format(self.values[level - 1])


DISTORTIONS = {
    "colour_saturation": Distortion(colour_saturation, (0.4, 0.3, 0.2, 0.1, 0.0), "{:.0%} of the colour"),
    "colour_contrast": Distortion(colour_contrast, (0.85, 0.725, 0.6, 0.475, 0.35), "{:.1%} of the values"),
    "block_wise": Distortion(block_wise, (16, 32, 48, 64, 80), "{} blocks at 256 px"),
    "gaussian_noise": Distortion(gaussian_noise, (0.001, 0.002, 0.005, 0.01, 0.05), "variance {}"),
    "gaussian_blur": Distortion(gaussian_blur, (7, 9, 13, 17, 21), "kernel {} px"),
    "jpeg_compression": Distortion(jpeg_compression, (2, 3, 4, 5, 6), "shrunk {} times"),
    "video_compression": Distortion(h264, (30, 32, 35, 38, 40), "crf {}"),
    "resize": Distortion(resize, (0.75, 0.5, 0.375, 0.25, 0.125), "{:.1%} of the side"),
    "jpeg": Distortion(jpeg, (90, 70, 50, 30, 10), "quality {}"),
    "h264": Distortion(h264, (23, 28, 32, 36, 40), "crf {}"),  # from usual to barely watchable
}
DEEPERFORENSICS = tuple(DISTORTIONS)[:7]


class Distort(WindowTransform):
    """Gives a share of the windows one distortion of random name and level; leaves the others unchanged.

    names: of DISTORTIONS; None = the seven of DeeperForensics-1.0. Raises UserError for an unknown name or
    level, or a rate outside [0, 1].
    """

    def __init__(
        self, *, rate: float = 0.5, names: Sequence[str] | None = None, levels: Sequence[int] = LEVELS
    ) -> None:
        check_rate(rate)
        self.rate = rate
        self.names = list(DEEPERFORENSICS if names is None else names)
        self.levels = list(levels)
        if not self.names or not set(self.names) <= set(DISTORTIONS):
            raise UserError(f"augment.names={self.names}: known are {', '.join(DISTORTIONS)}")
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise UserError(f"augment.levels={self.levels}: known are 1 to 5")

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The window, distorted or not."""
        rng = np.random.default_rng(seed)
        if rng.random() >= self.rate:
            return sample
        name = self.names[rng.integers(len(self.names))]
        level = self.levels[rng.integers(len(self.levels))]
        frames = DISTORTIONS[name](sample.frames, level, rng)
        return sample._replace(frames=frames, note=f"{name.replace('_', ' ')} {level}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipDistortion:
    """One of the DISTORTIONS at a level, for whole clips of a face, with random numbers by the clip's key."""

    name: str
    level: int
    seed: int = 0

    def __call__(self, crops: Sequence[np.ndarray], *, video: str, track: int, clip: int) -> np.ndarray:
        """The crops (S, S, 3) uint8 of a clip, in order, as (T, S, S, 3) with S of the largest crop.

        video: key of the video. track, clip: numbers of the face track and of the clip in it.
        """
        side = max(len(crop) for crop in crops)
        same = [crop if len(crop) == side else cv2.resize(crop, (side, side)) for crop in crops]
        rng = np.random.default_rng([self.seed, crc32(video.encode()), track, clip])
        return DISTORTIONS[self.name](np.stack(same), self.level, rng)
