"""What a video file holds, without decoding more than its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from deepfake.errors import DecodeError
from deepfake.records import VideoInfo
from deepfake.video.limits import LIMITS, LimitReached, Limits, check_file

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ts .mts .m2ts .3gp .ogv".split()
)


@dataclass(frozen=True, slots=True)
class Scan:
    """info: of the shown video. time_s: (N,) float64, presentation time of each frame after the first.

    stamps: (N,) int64, the same as the file has it, in ticks; None where the file does not tell.
    keys: (K,) int64, indices of the frames from which decoding may start; none without stamps.
    trimmed: some coded frames are never shown, by an edit list or since the file starts inside a group.
    reordered: frames are coded in another order than they are shown in. limits: that the file is within.
    """

    info: VideoInfo
    time_s: np.ndarray
    stamps: np.ndarray | None
    keys: np.ndarray
    trimmed: bool
    reordered: bool
    limits: Limits = LIMITS


def probe(path: Path, limits: Limits = LIMITS) -> VideoInfo:
    """Length, rate, size as shown, rotation, codec and container; raises DecodeError naming the file."""
    return scan(path, limits).info


def scan(path: Path, limits: Limits = LIMITS) -> Scan:
    """All that can be known from headers, packets and the first frame; raises DecodeError naming the file.

    What is beyond the limits raises LimitReached, a DecodeError, before any of it is decoded.
    """
    check_file(path, limits)
    try:
        return _scan(path, limits)
    except LimitReached as err:
        raise LimitReached(f"{path}: {err}") from err
    except Exception as err:  # PyAV raises many kinds, some outside its own family
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise DecodeError(f"{path}: not a readable video ({reason})") from err


def open_video(path: Path, limits: Limits = LIMITS) -> tuple[av.container.InputContainer, av.VideoStream]:
    """The file, to be closed by the caller, and its main video stream; cover art is none.

    Whatever is in it, no other file and no address is opened.
    """
    try:
        # as a file even where its name looks like an address, concat:a|b
        container = av.open(f"file:{path}", options=limits.ffmpeg_options)
    except av.error.ArgumentError:
        raise ValueError("its content is of no format that is read; playlists never are") from None
    try:
        return container, main_stream(container, limits)
    except BaseException:
        container.close()
        raise


def main_stream(container: av.container.InputContainer, limits: Limits) -> av.VideoStream:
    """The main video stream of a container, ready to be decoded."""
    limits.check("max_streams", len(container.streams), f"it has {len(container.streams)} streams")
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise ValueError("no video stream")
    assert isinstance(stream, av.VideoStream)
    coder = stream.codec_context
    limits.check_size(coder.width, coder.height)
    limits.check("max_frames", stream.frames, f"its header tells of {stream.frames} frames")
    coder.options = {**coder.options, **limits.decoder_options}
    # one thread: videos are read side by side anyway, and FFmpeg's frame threads can deadlock with PyAV's log
    coder.thread_count = 1
    return stream


def _scan(path: Path, limits: Limits) -> Scan:
    container, stream = open_video(path, limits)
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
                limits.check("max_frames", len(packets), f"it has {len(packets)} frames and more")
                held[packet.pts] = packet.duration or 0
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        tick_s = float(stream.time_base or 0)
    container, stream = open_video(path, limits)
    with container:
        first = next(container.decode(stream), None)
        codec, name = stream.codec_context.name, container.format.name.split(",")[0]
        reordered = bool(stream.codec_context.has_b_frames)
    stamps = _shown_stamps(packets, first.pts if first else None, name)
    num_frames = len(stamps) if stamps is not None else sum(not discard for _, discard in packets)
    if first is None or not num_frames:
        raise ValueError("no frame in it")
    limits.check_size(first.width, first.height)  # as the first frame has it, whatever the header said
    ticks_s = stamps * tick_s if stamps is not None else np.arange(num_frames) / fps
    last_s = held[int(stamps[-1])] * tick_s if stamps is not None else 0
    keys = [place for place, stamp in enumerate([] if stamps is None else stamps) if stamp in key_stamps]
    length_s = float(ticks_s[-1] - ticks_s[0] + (last_s or 1 / fps))
    limits.check("max_seconds", length_s, f"it is {length_s:.0f} s long")
    turned = first.rotation % 180 != 0
    info = VideoInfo(
        num_frames=num_frames,
        fps=fps,
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        rotation_deg=int(first.rotation),
        codec=CODEC_NAMES.get(codec, codec),
        container=name,
        duration_s=round(length_s, 6),
    )
    return Scan(
        info,
        ticks_s - ticks_s[0],
        stamps,
        np.array(keys, np.int64),
        num_frames < len(packets),
        reordered,
        limits,
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
