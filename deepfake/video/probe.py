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

    stamps: (N,) int64, the same as the file has it, in ticks; None where the file does not tell.
    keys: (K,) int64, indices of the frames from which decoding may start; none without stamps.
    trimmed: some coded frames are never shown, by an edit list or since the file starts inside a group.
    reordered: frames are coded in another order than they are shown in.
    """

    info: VideoInfo
    time_s: np.ndarray
    stamps: np.ndarray | None
    keys: np.ndarray
    trimmed: bool
    reordered: bool


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


def open_video(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """The file, to be closed by the caller, and its main video stream; cover art is none."""
    container = av.open(str(path))
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        container.close()
        raise ValueError("no video stream")
    assert isinstance(stream, av.VideoStream)
    # one thread: videos are read side by side anyway, and FFmpeg's frame threads can deadlock with PyAV's log
    stream.codec_context.thread_count = 1
    return container, stream


def _scan(path: Path) -> Scan:
    container, stream = open_video(path)
    with container:
        # stamps only: the packets themselves are the whole file
        packets = []
        key_stamps = set()
        held: dict[int | None, int] = {}  # ticks that a frame is shown, by its stamp
        for packet in container.demux(stream):
            if packet.size:
                packets.append((packet.pts, packet.is_discard))
                if packet.is_keyframe:
                    key_stamps.add(packet.pts)
                held[packet.pts] = packet.duration or 0
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        tick_s = float(stream.time_base or 0)
    container, stream = open_video(path)
    with container:
        first = next(container.decode(stream), None)
        codec, name = stream.codec_context.name, container.format.name.split(",")[0]
        reordered = bool(stream.codec_context.has_b_frames)
    stamps = _shown_stamps(packets, first.pts if first else None, name)
    num_frames = len(stamps) if stamps is not None else sum(not discard for _, discard in packets)
    if first is None or not num_frames:
        raise ValueError("no frame in it")
    ticks_s = stamps * tick_s if stamps is not None else np.arange(num_frames) / fps
    last_s = held[int(stamps[-1])] * tick_s if stamps is not None else 0
    keys = [place for place, stamp in enumerate([] if stamps is None else stamps) if stamp in key_stamps]
    turned = first.rotation % 180 != 0
    info = VideoInfo(
        num_frames=num_frames,
        fps=fps,
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        rotation_deg=int(first.rotation),
        codec=CODEC_NAMES.get(codec, codec),
        container=name,
        duration_s=round(float(ticks_s[-1] - ticks_s[0] + (last_s or 1 / fps)), 6),
    )
    return Scan(
        info, ticks_s - ticks_s[0], stamps, np.array(keys, np.int64), num_frames < len(packets), reordered
    )


def _shown_stamps(
    packets: list[tuple[int | None, bool]], first: int | None, container: str
) -> np.ndarray | None:
    """Stamps of the frames that are shown, in order; None where they are missing, double or, in AVI, guessed.

    packets: stamp, and whether an edit list hides it. first: stamp of the first frame that decodes; frames
    before it lean on some that were cut off.
    """
    stamps = [stamp for stamp, hidden in packets if not hidden and stamp is not None]
    complete = len(stamps) == sum(not hidden for _, hidden in packets) == len(set(stamps))
    if container == "avi" or not complete or first not in stamps:
        return None
    return np.sort(np.array([stamp for stamp in stamps if stamp >= first], np.int64))


CODEC_NAMES = {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}
"""Decoders that PyAV names instead of the codec they decode."""
