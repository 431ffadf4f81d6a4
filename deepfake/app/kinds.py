"""What an upload is, by its content: names lie, and some formats make a decoder read other files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from deepfake.errors import DecodeError, UserError
from deepfake.records import VideoInfo
from deepfake.video import limits as files
from deepfake.video.images import IMAGE_SUFFIXES
from deepfake.video.probe import probe

HEAD_BYTES = 512
BOXES = frozenset([b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"])
STARTS = {
    b"\x1a\x45\xdf\xa3": ".mkv",
    b"FLV\x01": ".flv",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ".wmv",
    b"OggS": ".ogv",
    b"\x00\x00\x01\xba": ".mpg",
    b"\x00\x00\x01\xb3": ".mpg",
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"II*\x00": ".tif",
    b"MM\x00*": ".tif",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The longest video and the largest frame that are judged."""

    max_seconds: float
    max_pixels: int


def suffix_of(head: bytes) -> str | None:
    """Such as .mp4, by the first HEAD_BYTES of a file; None for what is no film or picture."""
    if head[4:8] in BOXES:
        return ".mp4"
    if head[:4] == b"RIFF":
        return {b"AVI ": ".avi", b"WEBP": ".webp"}.get(head[8:12])
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return ".bmp"
    for offset, period, suffix in (0, 188, ".ts"), (4, 192, ".m2ts"):
        if head[offset:HEAD_BYTES:period] == b"G" * len(range(offset, HEAD_BYTES, period)):
            return suffix
    return next((suffix for start, suffix in STARTS.items() if head.startswith(start)), None)


def check(path: Path, limits: Limits, file_limits: files.Limits = files.LIMITS) -> VideoInfo:
    """What a video or picture is; raises UserError for what is beyond the limits or cannot be read.

    limits: of this page; file_limits: of conf/limits.

    The text leaves the file's name to the caller, who knows what the user calls it.
    """
    still = path.suffix in IMAGE_SUFFIXES
    # before any of its pixels are read: a small file can hold a huge frame
    width, height = image_size(path) if still else frame_size(path)
    if width * height > limits.max_pixels:
        raise UserError(
            f"its frames have {width} × {height} pixels, and this page takes up to {limits.max_pixels:,} "
            "(max_pixels)"
        )
    info = one_frame(width, height) if still else probed(path, file_limits)
    seconds = info.duration_s or 0.0
    if seconds > limits.max_seconds:
        raise UserError(
            f"it is {seconds:.0f} s long, and this page takes up to {limits.max_seconds:g} s (max_seconds)"
        )
    return info


def image_size(path: Path) -> tuple[int, int]:
    """Width and height, from the header alone; raises UserError."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception as err:  # Pillow raises many kinds for broken files
        raise UserError("not a readable image") from err


def frame_size(path: Path) -> tuple[int, int]:
    """Width and height, from the headers alone, of a file that is one of DEMUXERS; raises UserError."""
    try:
        with av.open(f"file:{path}", options=files.LIMITS.ffmpeg_options) as file:
            stream = file.streams.best("video")
            if isinstance(stream, av.VideoStream):
                return stream.codec_context.width, stream.codec_context.height
    except Exception as err:  # PyAV raises many kinds, some outside its own family
        raise UserError("not a readable video") from err
    raise UserError("there is no video in it, only sound")


def probed(path: Path, limits: files.Limits) -> VideoInfo:
    """What a video is, by its packets and first frame; raises UserError for a broken one."""
    try:
        return probe(path, limits)
    except DecodeError as err:
        raise UserError(str(err).removeprefix(f"{path}: ")) from err


def one_frame(width: int, height: int) -> VideoInfo:
    """A still image as a video."""
    return VideoInfo(
        num_frames=1, fps=0.0, width=width, height=height, rotation_deg=0, codec="image", container="image"
    )
