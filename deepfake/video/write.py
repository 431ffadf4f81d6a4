"""Write frames as a video file (H.264), with or without the audio of another file."""

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

from deepfake.io import atomic_path
from deepfake.video.probe import NO_LIMITS

log = logging.getLogger(__name__)

COPIED_AUDIO = frozenset("aac mp3 ac3 eac3 alac".split())
"""Audio codecs that players expect in an MP4; others are re-encoded as AAC."""


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
    """Encode RGB frames (H, W, 3) uint8 of one even size as yuv420p; returns the number of frames written.

    Frames are taken one at a time. The file appears under its name only when it is complete; the same frames
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
        tag_colours=False,  # rendered corpora keep their bytes
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
    tag_colours: bool = True,
) -> int:
    """Like write_video, for pairs of ascending presentation time, in units of time_base (seconds), and frame.

    rate: mean frames per second, for the header. sound: a file whose main audio is added with its own times;
    copied if its codec is one of COPIED_AUDIO. Audio that cannot be read is left out with a warning.
    tag_colours: state in the file how RGB became YUV; players assume BT.709 for large videos without that,
    which is wrong here and shifts the colours.
    """
    options = {"crf": str(crf), "preset": preset, "threads": "1"}
    if codec == "libx264":
        # its AVX-512 code (mb-tree) reads uninitialised memory: bytes would differ between runs
        options["x264-params"] = "cpu-independent=1"
    # bitexact keeps version strings and dates out of the file
    bitexact = {"fflags": "+bitexact"}
    with atomic_path(path) as part:
        with (
            keep_scheduling(),
            av.open(str(part), "w", format=container, container_options=bitexact) as file,
        ):
            stream = file.add_stream(codec, rate=rate, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            stream.codec_context.time_base = time_base
            stream.pix_fmt = "yuv420p"
            if tag_colours:
                stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU601
                stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
            num_frames = _encode(path, file, stream, frames, sound)
        if num_frames == 0:
            raise ValueError(f"{path}: no frames to write")
    return num_frames


@contextmanager
def keep_scheduling() -> Iterator[None]:
    """Keep this thread's scheduling: libsvtav1, run by root, makes it and its child threads real-time.

    Real-time threads come before every other process of the machine, which then stands still.
    """
    if not hasattr(os, "sched_getscheduler"):  # no Linux
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def _encode(
    path: Path,
    file: av.container.OutputContainer,
    stream: av.VideoStream,
    frames: Iterable[tuple[int, np.ndarray]],
    sound: Path | None,
) -> int:
    num_frames, time_base = 0, stream.codec_context.time_base
    audio = audio_packets(sound, file) if sound else iter(())
    due = next(audio, None)  # before the first frame, so that the header lists the audio stream
    for pts, rgb in frames:
        if num_frames == 0:
            if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
                raise ValueError(f"{path}: frames must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
            stream.height, stream.width = rgb.shape[:2]
            if stream.height % 2 or stream.width % 2:
                size = f"{stream.width}x{stream.height}"
                raise ValueError(f"{path}: width and height must be even for yuv420p, not {size}")
        elif rgb.shape[:2] != (stream.height, stream.width):
            raise ValueError(
                f"{path}: frame {num_frames} is {rgb.shape[1]}x{rgb.shape[0]}, "
                f"the first was {stream.width}x{stream.height}"
            )
        # video and audio interleaved, so that neither waits in memory
        while due is not None and (due.dts or 0) * (due.time_base or 1) <= pts * time_base:
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


def audio_packets(source: Path, output: av.container.OutputContainer) -> Iterator[av.Packet[Any]]:
    """The main audio of a file as packets of a new stream of output, in order; none if it has no audio."""
    try:
        with av.open(f"file:{source}", options=NO_LIMITS.ffmpeg_options) as container:
            stream = container.streams.best("audio")
            if isinstance(stream, av.AudioStream):
                copied = stream.codec_context.codec.canonical_name in COPIED_AUDIO
                yield from (copy_audio if copied else encode_audio)(container, stream, output)
    except av.FFmpegError as err:
        log.warning("%s: audio is left out from where it breaks (%s)", source, err)


def copy_audio(
    container: av.container.InputContainer, stream: av.AudioStream, output: av.container.OutputContainer
) -> Iterator[av.Packet[Any]]:
    """Packets unchanged."""
    copy = output.add_stream_from_template(stream)
    for packet in container.demux(stream):
        if packet.dts is not None:
            packet.stream = copy
            yield packet


def encode_audio(
    container: av.container.InputContainer, stream: av.AudioStream, output: av.container.OutputContainer
) -> Iterator[av.Packet[Any]]:
    """Packets re-encoded, in stereo at most."""
    layout = "mono" if stream.channels == 1 else "stereo"
    copy = output.add_stream("aac", rate=stream.rate, layout=layout)
    assert isinstance(copy, av.AudioStream)
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=stream.rate)
    for frame in chain(container.decode(stream), [None]):
        for piece in resampler.resample(frame):
            yield from copy.encode(piece)
    yield from copy.encode(None)
