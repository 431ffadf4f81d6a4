"""Small films whose frames carry their own number, as bright and dark bars."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, BAR_PX, HEIGHT_PX = 8, 20, 128


def picture(number: int) -> np.ndarray:
    """Bar b is bright where bit b of the number is set, (128, 160, 3) uint8."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    return np.broadcast_to(np.repeat(bits, BAR_PX)[None, :, None] * 255, (HEIGHT_PX, 160, 3)).astype(np.uint8)


def number_of(rgb: np.ndarray) -> int:
    """The number in a picture."""
    row = rgb[len(rgb) // 2].mean(axis=1)
    return sum(int(row[bit * BAR_PX + BAR_PX // 2] > 128) << bit for bit in range(BITS))


def film(
    path: Path,
    codec: str = "libx264",
    *,
    num_frames: int = 40,
    times_ms: Sequence[int] | None = None,
    rotation_deg: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a film of 25 frames a second, or with a time in ms for each frame."""
    base = Fraction(1, 1000) if times_ms is not None else Fraction(1, 25)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, HEIGHT_PX, "yuv420p"
        stream.options = options or {}
        stream.codec_context.time_base = base
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = times_ms[index] if times_ms is not None else index
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    """Write a file with audio only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
