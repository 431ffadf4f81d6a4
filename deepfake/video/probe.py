"""What a file may be and what a video is: limits, then length, size, time stamps and codec.

Limits are checked before a file is opened or anything in it is decoded; the facts about a video come from its
packets and its first frame.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.sidedata.sidedata import SideData

from deepfake.errors import DecodeError, UserError
from deepfake.records import VideoInfo

DEMUXERS = ",".join(
    "mov matroska avi flv asf ogg mpeg mpegvideo mpegts mxf dv ivf gif h264 hevc m4v obu yuv4mpegpipe"
    " mp3 wav flac aac".split()
)
"""Formats that FFmpeg may read: those that contain pictures and sound themselves.

Playlists, lists and session descriptions (HLS, DASH, concat, SDP) are not among them: they name other files
and URLs that FFmpeg would then open.
"""
HEAD_BYTES = 1 << 16
PLAYLIST_START = re.compile(
    rb"#EXT|ffconcat\b|v=\d|\[(playlist|reference)\]|# VobSub|ASF https?:|RTSP|SMIL|\w{3,9}://|<",
    re.IGNORECASE,
)
"""How HLS and M3U, concat, SDP, PLS and ASX, VobSub and redirections begin; "<" is DASH, XSPF, other XML."""
PLAYLIST_INSIDE = re.compile(
    rb"<MPD|dash:profile|^c=IN IP|<SmoothStreamingMedia", re.IGNORECASE | re.MULTILINE
)
"""By which FFmpeg recognises DASH and SDP anywhere before the first zero byte."""
PADDED, PADDING_PX = 1.25, 1 << 16
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ts .mts .m2ts .3gp .ogv".split()
)
CODEC_NAMES = {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}
"""Codec by the name of its decoder, which is what PyAV reports for these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest file that is read, as in conf/limits; None means no limit.

    max_pixels: width × height of a video's frames; max_image_pixels: of a still image. max_frames,
    max_seconds: length of a video. max_streams: number of its streams of any kind. max_bytes: of the file.
    """

    max_pixels: int | None = 36_000_000
    max_image_pixels: int | None = 150_000_000
    max_frames: int | None = 2_000_000
    max_seconds: float | None = 86_400
    max_streams: int | None = 64
    max_bytes: int | None = 200_000_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise UserError(f"limits.{field.name}={value}: a number above 0, or null for no limit")

    def check(self, name: str, value: float, what: str) -> None:
        """Raise LimitReached if the value exceeds the limit of this name; what: start of the message."""
        limit = getattr(self, name)
        if limit is not None and value > limit:
            raise LimitReached(f"{what}, more than limits.{name}={limit}")

    def check_size(self, width: int, height: int, *, image: bool = False) -> None:
        """Raise LimitReached if frames of this size have too many pixels."""
        what = "it has" if image else "its frames have"
        name = "max_image_pixels" if image else "max_pixels"
        self.check(name, width * height, f"{what} {width}x{height} pixels")

    @property
    def ffmpeg_options(self) -> dict[str, str]:
        """Options with which FFmpeg opens only the file itself and refuses frames that are too large.

        The size in a header may be false, and any frame may start another size.
        """
        return {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"} | self.decoder_options

    @property
    def decoder_options(self) -> dict[str, str]:
        """The options for a decoder, which counts its padding as pixels."""
        if self.max_pixels is None:
            return {}
        return {"max_pixels": str(int(self.max_pixels * PADDED) + PADDING_PX)}


LIMITS = Limits()
NO_LIMITS = Limits(**dict.fromkeys((field.name for field in fields(Limits)), None))
"""For files that were already read within limits."""


class LimitReached(DecodeError):
    """A file exceeds the limits; callers that know its name prefix the message with it."""


def check_file(path: Path, limits: Limits) -> None:
    """Raise DecodeError for anything but a regular, non-empty file within limits.

    Opening a pipe or a device could block for ever.
    """
    with decode_errors(path, "video or image"):
        try:
            about = path.stat()
        except FileNotFoundError:
            raise ValueError("a link to nothing" if path.is_symlink() else "no such file") from None
        except OSError as err:
            raise ValueError(err.strerror) from err
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a regular file")
        if not about.st_size:
            raise ValueError("an empty file")
        limits.check("max_bytes", about.st_size, f"it is {about.st_size} bytes long")
        try:
            with path.open("rb") as file:
                playlist = is_playlist(file)
        except OSError as err:
            raise ValueError(err.strerror) from err
        if playlist:
            raise ValueError("it begins as a playlist, which names other files; playlists are never read")


def is_playlist(file: BinaryIO) -> bool:
    """Whether any reader would take the content for a list of other files, whatever follows its beginning."""
    head = file.read(HEAD_BYTES)
    start = 0
    while head[:3] == b"ID3" and len(head) >= 10:  # FFmpeg skips such a tag and recognises what follows it
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 + size + (10 if head[5] & 0x10 else 0)
        file.seek(start)
        head = file.read(HEAD_BYTES)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "ignore").encode()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return bool(PLAYLIST_START.match(text) or PLAYLIST_INSIDE.search(text.split(b"\0", 1)[0]))


@contextmanager
def decode_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn any error of the block into a DecodeError, or LimitReached, that names the file; kind: "video"."""
    try:
        yield
    except LimitReached as err:
        raise LimitReached(f"{path}: {err}") from err
    except Exception as err:  # PyAV and Pillow raise many kinds for broken files
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise DecodeError(f"{path}: not a readable {kind} ({reason})") from err


@dataclass(frozen=True, slots=True)
class Scan:
    """Facts about a video and its frames.

    info: of the video as it is displayed. time_s: (N,) float64, presentation times, the first frame at 0.
    stamps: (N,) int64, the time stamps in the file, in ticks; None where the file has no usable ones.
    keys: (K,) int64, indices of the key frames, at which decoding may start; empty without stamps.
    trimmed: some coded frames are never displayed, by an edit list or since the file starts inside a group.
    reordered: coding order differs from display order. limits: those that the file was checked against.
    sample_aspect: width of a pixel over its height. as_coded: frames are displayed without any change.
    """

    info: VideoInfo
    time_s: np.ndarray
    stamps: np.ndarray | None
    keys: np.ndarray
    trimmed: bool
    reordered: bool
    limits: Limits = LIMITS
    sample_aspect: Fraction = Fraction(1)
    as_coded: bool = True


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
        limits.check("max_streams", len(container.streams), f"it has {len(container.streams)} streams")
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            raise ValueError("no video stream")
        assert isinstance(stream, av.VideoStream)
        coder = stream.codec_context
        limits.check_size(coder.width, coder.height)
        limits.check("max_frames", stream.frames, f"its header tells of {stream.frames} frames")
    except BaseException:
        container.close()
        raise
    coder.options = {**coder.options, **limits.decoder_options}
    # one thread: videos are read in parallel anyway, and FFmpeg's frame threads can deadlock with PyAV's log
    coder.thread_count = 1
    return container, stream


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
        sample_aspect = stream.sample_aspect_ratio or Fraction(1)
    container, stream = open_video(path, limits)
    with container:
        first = next(container.decode(stream), None)
        codec, name = stream.codec_context.name, container.format.name.split(",")[0]
        reordered = bool(stream.codec_context.has_b_frames)
    stamps = _display_stamps(packets, first.pts if first else None, name)
    num_frames = len(stamps) if stamps is not None else sum(not discard for _, discard in packets)
    if first is None or not num_frames:
        raise ValueError("no frame in it")
    turned = orientation(first)
    mirrored_only = turned in ((False, True, False), (False, False, True))
    width, height = displayed_size(first, sample_aspect)
    limits.check_size(width, height)  # the header may state another size
    ticks_s = stamps * tick_s if stamps is not None else np.arange(num_frames) / fps
    last_s = durations[int(stamps[-1])] * tick_s if stamps is not None else 0
    keys = [place for place, stamp in enumerate([] if stamps is None else stamps) if stamp in key_stamps]
    length_s = float(ticks_s[-1] - ticks_s[0] + (last_s or 1 / fps))
    limits.check("max_seconds", length_s, f"it is {length_s:.0f} s long")
    info = VideoInfo(
        num_frames=num_frames,
        fps=fps,
        width=width,
        height=height,
        rotation_deg=0 if mirrored_only else int(first.rotation),
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
        sample_aspect,
        as_coded=turned == AS_CODED and {width, height} == {first.width, first.height},
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


def displayed_size(frame: av.VideoFrame, sample_aspect: Fraction) -> tuple[int, int]:
    """Width and height of a frame with square pixels and in its orientation."""
    width, height = square_pixel_size(frame, sample_aspect)
    return (height, width) if orientation(frame)[0] else (width, height)


def square_pixel_size(frame: av.VideoFrame, sample_aspect: Fraction) -> tuple[int, int]:
    """Width and height of a frame whose pixels are made square by enlarging one side."""
    if sample_aspect >= 1:
        return round(frame.width * sample_aspect), frame.height
    return frame.width, round(frame.height / sample_aspect)


AS_CODED = (False, False, False)


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How a frame is displayed: whether transposed, then mirrored left to right, then top to bottom.

    Its display matrix maps (x, y) to (a x + c y, b x + d y); angles between are taken for the nearest of the
    eight orientations.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX", None)
    if not isinstance(matrix, SideData):
        return AS_CODED
    a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0
