"""Frames -> file: the H.264 writer, with or without the sound of another file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from deepfake.video.limits import NO_LIMITS

log = logging.getLogger(__name__)

COPIED = frozenset("aac mp3 ac3 eac3 alac".split())
"""Audio codecs that players expect in an MP4; others are encoded anew, as AAC."""


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Undo what libsvtav1 does when root encodes: it turns this thread, and all that it starts, real-time.

    Those come before every other process of the machine, which then stands still.
    """
    if not hasattr(os, "sched_getscheduler"):  # no Linux
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


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
    rate = Fraction(fps).limit_denominator(1001)
    return write_timed_video(
        path,
        enumerate(frames),
        time_base=1 / rate,
        rate=rate,
        codec=codec,
        crf=crf,
        preset=preset,
        container=container,
        colours_told=False,  # rendered corpora stay as they are, byte by byte
    )


def write_timed_video(
    path: Path,
    frames: Iterable[tuple[int, np.ndarray]],
    *,
    time_base: Fraction,
    rate: Fraction,
    sound: Path | None = None,
    codec: str = "libx264",
    crf: int = 23,
    preset: str = "veryfast",
    container: str = "mp4",
    colours_told: bool = True,
) -> int:
    """The same for frames that each bring their time, rising, in units of time_base (seconds).

    rate: frames a second on the whole, for the header. sound: a file whose main audio goes along, by its own
    times; copied where its codec is one of COPIED. Audio that cannot be read is left out with a warning.
    colours_told: say in the file how RGB became YUV; players take a large untold film for BT.709, which ours
    is not, and shift its colours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    options = {"crf": str(crf), "preset": preset, "threads": "1"}
    if codec == "libx264":
        # its AVX-512 code (mb-tree) reads memory that nobody wrote: bytes would change from run to run
        options["x264-params"] = "cpu-independent=1"
    try:
        # bitexact keeps version strings and dates out of the file
        with (
            scheduling_kept(),
            av.open(
                str(unfinished), "w", format=container, container_options={"fflags": "+bitexact"}
            ) as file,
        ):
            stream = file.add_stream(codec, rate=rate, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            stream.codec_context.time_base = time_base
            stream.pix_fmt = "yuv420p"
            if colours_told:
                stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU601
                stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
            num_frames = _encode(path, file, stream, frames, sound)
        if num_frames == 0:
            raise ValueError(f"{path}: no frames to write")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return num_frames


def _encode(
    path: Path,
    file: av.container.OutputContainer,
    stream: av.VideoStream,
    frames: Iterable[tuple[int, np.ndarray]],
    sound: Path | None,
) -> int:
    num_frames, time_base = 0, stream.codec_context.time_base
    audio = sound_packets(sound, file) if sound else iter(())
    due = next(audio, None)  # before the first frame is written, so that the header tells of it
    for pts, rgb in frames:
        if num_frames == 0:
            stream.width, stream.height = _even_size(path, rgb)
        elif rgb.shape[:2] != (stream.height, stream.width):
            raise ValueError(
                f"{path}: frame {num_frames} is {rgb.shape[1]}x{rgb.shape[0]}, "
                f"the first was {stream.width}x{stream.height}"
            )
        # picture and sound side by side, so that neither has to wait in memory
        while due is not None and starts_s(due) <= pts * time_base:
            file.mux(due)
            due = next(audio, None)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        file.mux(stream.encode(frame))
        num_frames += 1
    if num_frames:
        file.mux(stream.encode(None))
        for packet in chain([due] if due else [], audio):
            file.mux(packet)
    return num_frames


def sound_packets(source: Path, film: av.container.OutputContainer) -> Iterator[av.Packet[Any]]:
    """The main audio of a file as packets of a new stream of film, in order; none if it has no audio."""
    try:
        with av.open(f"file:{source}", options=NO_LIMITS.ffmpeg_options) as container:
            stream = container.streams.best("audio")
            if isinstance(stream, av.AudioStream):
                copied = stream.codec_context.codec.canonical_name in COPIED
                yield from (copied_sound if copied else encoded_sound)(container, stream, film)
    except av.FFmpegError as err:
        log.warning("%s: audio is left out from where it breaks (%s)", source, err)


def copied_sound(
    container: av.container.InputContainer, stream: av.AudioStream, film: av.container.OutputContainer
) -> Iterator[av.Packet[Any]]:
    """Packets as they are."""
    copy = film.add_stream_from_template(stream)
    for packet in container.demux(stream):
        if packet.dts is not None:
            packet.stream = copy
            yield packet


def encoded_sound(
    container: av.container.InputContainer, stream: av.AudioStream, film: av.container.OutputContainer
) -> Iterator[av.Packet[Any]]:
    """Packets decoded and encoded anew, in stereo at most."""
    layout = "mono" if stream.channels == 1 else "stereo"
    copy = film.add_stream("aac", rate=stream.rate, layout=layout)
    assert isinstance(copy, av.AudioStream)
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=stream.rate)
    for frame in container.decode(stream):
        for piece in resampler.resample(frame):
            yield from copy.encode(piece)
    for piece in resampler.resample(None):
        yield from copy.encode(piece)
    yield from copy.encode(None)


def starts_s(packet: av.Packet[Any]) -> Fraction:
    """When a packet is to be decoded."""
    return (packet.dts or 0) * (packet.time_base or Fraction(1))


def _even_size(path: Path, rgb: np.ndarray) -> tuple[int, int]:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"{path}: frames must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"{path}: width and height must be even for yuv420p, not {width}x{height}")
    return width, height
