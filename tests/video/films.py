"""Small films whose frames carry their own number, as bright and dark bars."""

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from deepfake.video.write import keep_scheduling

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
    first: int = 0,
    shrink: int = 1,
    options: dict[str, str] | None = None,
    show: Callable[[int], np.ndarray] = picture,
    sound: str = "",
    container: str | None = None,
    display_matrix: Sequence[int] | None = None,
    sample_aspect: Fraction | None = None,
) -> Path:
    """Write a film of 25 frames a second, or with a time in ms for each frame.

    first: number and time stamp of the first frame. shrink: every how many pixels to keep. show: what
    is seen, by the number of the frame. sound: codec of a silent second beside it. container: its format,
    else by the suffix. display_matrix: nine numbers as in the file. sample_aspect: of a pixel.
    """
    base = Fraction(1, 1000) if times_ms is not None else Fraction(1, 25)
    with keep_scheduling(), av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        height, width, _ = show(first)[::shrink, ::shrink].shape
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = options or {}
        stream.codec_context.time_base = base
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        if display_matrix is not None:
            stream.set_display_matrix(display_matrix)
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        if sound:
            add_silence(output, sound)
        for index in range(first, first + num_frames):
            small = np.ascontiguousarray(show(index)[::shrink, ::shrink])
            frame = av.VideoFrame.from_ndarray(small, format="rgb24")
            frame.pts = times_ms[index] if times_ms is not None else index
            frame.time_base = base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def add_silence(container: av.container.OutputContainer, codec: str) -> None:
    """A second of silence, 48,000 samples, before the first packet of the picture."""
    stream = container.add_stream(codec, rate=48_000)
    planes = stream.codec_context.codec.audio_formats[0].name
    for _ in range(50):
        frame = av.AudioFrame(planes, "mono", 960)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def cut(source: Path, path: Path, start_s: float) -> Path:
    """Copy the packets from the key frame at or before a time on, without decoding."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        stream = whole.streams.video[0]
        copy = container.add_stream_from_template(stream)
        whole.seek(round(start_s / float(stream.time_base or 1)), stream=stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    return path


def sound(path: Path, codec: str = "aac", *, cover: bool = False) -> Path:
    """Write a file with audio only, and maybe a picture of its cover."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16000)
        if cover:
            image = io.BytesIO()
            Image.new("RGB", (64, 64)).save(image, "JPEG")
            art = container.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
            packet = av.Packet(image.getvalue())
            packet.stream, packet.pts, packet.dts = art, 0, 0
            container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
