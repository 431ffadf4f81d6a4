"""What a video file holds, without decoding more than its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from deepfake.errors import DecodeError
from deepfake.records import VideoInfo

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ts .mts .m2ts .3gp .ogv".split()
)


@dataclass(frozen=True, slots=True)
class Scan:
    """info: of the shown video. time_s: (N,) float64, presentation time of each frame after the first.

    trimmed: an edit list hides some of the coded frames.
    """

    info: VideoInfo
    time_s: np.ndarray
    trimmed: bool


def probe(path: Path) -> VideoInfo:
    """Length, rate, size as shown, rotation, codec and container; raises DecodeError naming the file."""
    return scan(path).info


def scan(path: Path) -> Scan:
    """All that can be known from headers, packets and the first frame; raises DecodeError naming the file."""
    try:
        return _scan(path)
    except Exception as err:  # PyAV raises many kinds, some outside its own family
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise DecodeError(f"{path}: not a readable video ({reason})") from err


def _scan(path: Path) -> Scan:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        shown = [packet for packet in packets if not packet.is_discard]
        stamps = [packet.pts for packet in shown]
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        tick_s = float(stream.time_base or 0)
    with av.open(str(path)) as container:
        first = next(container.decode(video=0), None)
        if first is None or not shown:
            raise ValueError("no frame in it")
        codec = container.streams.video[0].codec_context.name
        name = container.format.name
    known = all(stamp is not None for stamp in stamps) and len(set(stamps)) == len(stamps)
    ticks = np.sort(np.array(stamps, np.float64)) * tick_s if known else np.arange(len(shown)) / fps
    turned = first.rotation % 180 != 0
    info = VideoInfo(
        num_frames=len(shown),
        fps=fps,
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        rotation_deg=int(first.rotation),
        codec=CODEC_NAMES.get(codec, codec),
        container=name.split(",")[0],
    )
    return Scan(info, ticks - ticks[0], trimmed=len(shown) < len(packets))


CODEC_NAMES = {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}
"""Decoders that PyAV names instead of the codec they decode."""
