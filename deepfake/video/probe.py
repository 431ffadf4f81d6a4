"""Length, size, time stamps and codec of a video file, from its packets and its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from deepfake.records import VideoInfo
from deepfake.video.limits import LIMITS, Limits, check_file, decode_errors

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ts .mts .m2ts .3gp .ogv".split()
)


@dataclass(frozen=True, slots=True)
class Scan:
    """Facts about a video and its frames.

    info: of the video as it is displayed. time_s: (N,) float64, presentation times, the first frame at 0.
    stamps: (N,) int64, the time stamps in the file, in ticks; None where the file has no usable ones.
    keys: (K,) int64, indices of the key frames, at which decoding may start; empty without stamps.
    trimmed: some coded frames are never displayed, by an edit list or since the file starts inside a group.
    reordered: coding order differs from display order. limits: those that the file was checked against.
    """

    info: VideoInfo
    time_s: np.ndarray
    stamps: np.ndarray | None
    keys: np.ndarray
    trimmed: bool
    reordered: bool
    limits: Limits = LIMITS


def probe(path: Path, limits: Limits = LIMITS) -> VideoInfo:
    """Length, frame rate, displayed size, rotation, codec and container; raises DecodeError."""
    return scan(path, limits).info


def scan(path: Path, limits: Limits = LIMITS) -> Scan:
    """Facts from headers, packets and the first frame; raises DecodeError naming the file.

    A file beyond the limits raises LimitReached, a DecodeError, before any of it is decoded.
    """
    check_file(path, limits)
    with decode_errors(path, "video"):
        return _scan(path, limits)


def open_video(path: Path, limits: Limits = LIMITS) -> tuple[av.container.InputContainer, av.VideoStream]:
    """The open file, which the caller closes, and its main video stream; cover art does not count.

    Whatever the file contains, no other file and no URL is opened.
    """
    try:
        # "file:", since a name may look like a URL: concat:a|b
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
    # one thread: videos are read in parallel anyway, and FFmpeg's frame threads can deadlock with PyAV's log
    coder.thread_count = 1
    return stream


def _scan(path: Path, limits: Limits) -> Scan:
    container, stream = open_video(path, limits)
    with container:
        # time stamps only: the packets together are as large as the file
        packets = []
        key_stamps = set()
        durations: dict[int | None, int] = {}  # in ticks, by time stamp
        for packet in container.demux(stream):
            if packet.size:
                packets.append((packet.pts, packet.is_discard))
                if packet.is_keyframe:
                    key_stamps.add(packet.pts)
                limits.check("max_frames", len(packets), f"it has {len(packets)} frames and more")
                durations[packet.pts] = packet.duration or 0
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        tick_s = float(stream.time_base or 0)
    container, stream = open_video(path, limits)
    with container:
        first = next(container.decode(stream), None)
        codec, name = stream.codec_context.name, container.format.name.split(",")[0]
        reordered = bool(stream.codec_context.has_b_frames)
    stamps = _display_stamps(packets, first.pts if first else None, name)
    num_frames = len(stamps) if stamps is not None else sum(not discard for _, discard in packets)
    if first is None or not num_frames:
        raise ValueError("no frame in it")
    limits.check_size(first.width, first.height)  # the header may state another size
    ticks_s = stamps * tick_s if stamps is not None else np.arange(num_frames) / fps
    last_s = durations[int(stamps[-1])] * tick_s if stamps is not None else 0
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


def _display_stamps(
    packets: list[tuple[int | None, bool]], first: int | None, container: str
) -> np.ndarray | None:
    """Time stamps of the displayed frames, in order; None if any is missing or double, or guessed as in AVI.

    packets: time stamp, and whether an edit list hides the frame. first: time stamp of the first frame that
    can be decoded; frames before it depend on frames that were cut off.
    """
    stamps = [stamp for stamp, hidden in packets if not hidden and stamp is not None]
    complete = len(stamps) == sum(not hidden for _, hidden in packets) == len(set(stamps))
    if container == "avi" or not complete or first not in stamps:
        return None
    return np.sort(np.array([stamp for stamp in stamps if stamp >= first], np.int64))


CODEC_NAMES = {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}
"""Codec by the name of its decoder, which is what PyAV reports for these."""
