"""Frames -> file: the H.264 writer."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: float | Fraction,
    codec: str = "libx264",
    crf: int = 23,
    preset: str = "veryfast",
    container: str = "mp4",
) -> int:
    """Encode rgb frames (H, W, 3) uint8 of one even size as yuv420p; returns how many were written.

    Frames are taken one at a time. The file appears under its name only when it is whole; the same frames
    give the same bytes. Raises ValueError for an odd or changing size and for no frames at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    options = {"crf": str(crf), "preset": preset, "threads": "1"}
    if codec == "libx264":
        # its AVX-512 code (mb-tree) reads memory that nobody wrote: bytes would change from run to run
        options["x264-params"] = "cpu-independent=1"
    try:
        rate = Fraction(fps).limit_denominator(1001)
        num_frames = _encode(unfinished, frames, rate=rate, codec=codec, options=options, container=container)
        if num_frames == 0:
            raise ValueError(f"{path}: no frames to write")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return num_frames


def _encode(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    rate: Fraction,
    codec: str,
    options: dict[str, str],
    container: str,
) -> int:
    num_frames = 0
    # bitexact keeps version strings and dates out of the file
    with av.open(str(path), "w", format=container, container_options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.pix_fmt = "yuv420p"
        for rgb in frames:
            if num_frames == 0:
                stream.width, stream.height = _even_size(path, rgb)
            elif rgb.shape[:2] != (stream.height, stream.width):
                raise ValueError(
                    f"{path}: frame {num_frames} is {rgb.shape[1]}x{rgb.shape[0]}, "
                    f"the first was {stream.width}x{stream.height}"
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = num_frames, 1 / rate
            file.mux(stream.encode(frame))
            num_frames += 1
        if num_frames:
            file.mux(stream.encode(None))
    return num_frames


def _even_size(path: Path, rgb: np.ndarray) -> tuple[int, int]:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"{path}: frames must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"{path}: width and height must be even for yuv420p, not {width}x{height}")
    return width, height
