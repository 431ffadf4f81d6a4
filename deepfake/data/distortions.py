"""Distortions at five levels: the seven of DeeperForensics-1.0 (Jiang et al., CVPR 2020), and recodings.

Each is a pure function of (frames (T, H, W, 3) uint8, level 1 to 5, rng) and returns frames of the same
shape; only noise and blocks use rng, and differ from frame to frame. Levels and formulas of the seven follow
the authors' code (github.com/EndlessSora/DeeperForensics-1.0, perturbation/distortions.py and
add_distortion_to_video.py, commit 4f6ecff), written anew for RGB windows of a face, while theirs distorts
whole BGR videos: sizes in pixels are those of the window, and values are truncated, not rounded, as in
theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from zlib import crc32

import av
import cv2
import numpy as np
import simplejpeg

from deepfake.data.augment import Sample, WindowTransform, check_rate
from deepfake.errors import UserError

LEVELS = (1, 2, 3, 4, 5)
CHROMA_KEPT = (0.4, 0.3, 0.2, 0.1, 0.0)
CONTRAST_KEPT = (0.85, 0.725, 0.6, 0.475, 0.35)
BLOCKS = (16, 32, 48, 64, 80)  # of 8 x 8 pixels, in a picture of 256
NOISE_VARIANCE = (0.001, 0.002, 0.005, 0.01, 0.05)  # of Y, Cb and Cr as the authors scale them
BLUR_KERNEL = (7, 9, 13, 17, 21)
SHRINK = (2, 3, 4, 5, 6)
CRF = (30, 32, 35, 38, 40)
KEPT_SIDE = (0.75, 0.5, 0.375, 0.25, 0.125)
QUALITY = (90, 70, 50, 30, 10)
RECODED_CRF = (23, 28, 32, 36, 40)

BLOCK = 8
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# RGB of Y, Cr and Cb; the authors add noise to [16, 235] / 255 of Y and [16, 240] / 255 of Cb and Cr
RGB_OF_YCC = np.array([[1, 1, 1], [1.403, -0.714, 0], [0, -0.344, 1.773]], np.float32)
YCC_NOISE = 255 * np.array([255 / 219, 255 / 224, 255 / 224], np.float32)

Distortion = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def colour_saturation(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """CS: reduces the colour, at level 5 to none."""
    grey = (frames @ LUMA)[..., None]
    return (grey + CHROMA_KEPT[level - 1] * (frames - grey)).astype(np.uint8)


def colour_contrast(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """CC: darkens all values."""
    return (frames * np.float32(CONTRAST_KEPT[level - 1])).astype(np.uint8)


def block_wise(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """BW: grey blocks at random places, their number in proportion to the side.

    The authors round the side down to multiples of 256, which would give windows of 224 pixels no block.
    """
    height, width = frames.shape[1:3]
    count = max(1, round(BLOCKS[level - 1] * min(height, width) / 256))
    out = frames.copy()
    for frame in out:
        rows, columns = (rng.integers(max(side - BLOCK, 1), size=count) for side in (height, width))
        for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
            frame[y : y + BLOCK, x : x + BLOCK] = 128
    return out


def gaussian_noise(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """GNC: white noise in luma and chroma."""
    std = np.sqrt(np.float32(NOISE_VARIANCE[level - 1])) * YCC_NOISE
    noise = rng.standard_normal(frames.shape, np.float32) @ (std[:, None] * RGB_OF_YCC)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def gaussian_blur(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """GB: blur with a kernel of 7 to 21 pixels and a sigma of a sixth of that."""
    side = BLUR_KERNEL[level - 1]
    return np.stack([cv2.GaussianBlur(frame, (side, side), side / 6) for frame in frames])


def jpeg_compression(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """JPEG: shrinks 2 to 6 times and enlarges again, which is what the authors call JPEG."""
    height, width = frames.shape[1:3]
    small = (max(1, width // SHRINK[level - 1]), max(1, height // SHRINK[level - 1]))
    return np.stack([cv2.resize(cv2.resize(frame, small), (width, height)) for frame in frames])


def video_compression(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """VC: the frames as one video through H.264 with a CRF of 30 to 40 and x264's default settings."""
    return through_h264(frames, crf=CRF[level - 1])


def resize(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Shrinks to 3/4 to 1/8 of the side (area mean) and enlarges again (cubic)."""
    height, width = frames.shape[1:3]
    small = tuple(max(1, round(side * KEPT_SIDE[level - 1])) for side in (width, height))
    return np.stack(
        [
            cv2.resize(
                cv2.resize(frame, small, interpolation=cv2.INTER_AREA),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
            for frame in frames
        ]
    )


def jpeg(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Each frame through JPEG of quality 90 to 10, with 4:2:0 chroma as in most files."""
    quality = QUALITY[level - 1]
    return np.stack(
        [
            simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(frame, quality=quality, colorsubsampling="420"))
            for frame in np.ascontiguousarray(frames)
        ]
    )


def h264(frames: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Through H.264 with a CRF of 23 to 40, from usual to barely watchable."""
    return through_h264(frames, crf=RECODED_CRF[level - 1])


def through_h264(frames: np.ndarray, *, crf: int) -> np.ndarray:
    """Frames (T, H, W, 3) uint8, encoded as one video and decoded, in memory and with one thread."""
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


DEEPERFORENSICS: dict[str, Distortion] = {
    "colour_saturation": colour_saturation,
    "colour_contrast": colour_contrast,
    "block_wise": block_wise,
    "gaussian_noise": gaussian_noise,
    "gaussian_blur": gaussian_blur,
    "jpeg_compression": jpeg_compression,
    "video_compression": video_compression,
}
DISTORTIONS: dict[str, Distortion] = {**DEEPERFORENSICS, "resize": resize, "jpeg": jpeg, "h264": h264}

SETTINGS: dict[str, tuple[str, ...]] = {
    "colour_saturation": tuple(f"{kept:.0%} of the colour" for kept in CHROMA_KEPT),
    "colour_contrast": tuple(f"{kept:.1%} of the values" for kept in CONTRAST_KEPT),
    "block_wise": tuple(f"{count} blocks at 256 px" for count in BLOCKS),
    "gaussian_noise": tuple(f"variance {variance}" for variance in NOISE_VARIANCE),
    "gaussian_blur": tuple(f"kernel {side} px" for side in BLUR_KERNEL),
    "jpeg_compression": tuple(f"shrunk {factor} times" for factor in SHRINK),
    "video_compression": tuple(f"crf {crf}" for crf in CRF),
    "resize": tuple(f"{kept:.1%} of the side" for kept in KEPT_SIDE),
    "jpeg": tuple(f"quality {quality}" for quality in QUALITY),
    "h264": tuple(f"crf {crf}" for crf in RECODED_CRF),
}
"""Description of each level of a distortion."""


# Random distortions of training windows, and one chosen distortion of everything that is scored.


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
