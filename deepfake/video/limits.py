"""Limits of the files that are read, checked before a file is opened or anything in it is decoded."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from deepfake.errors import DecodeError, UserError

DEMUXERS = ",".join(
    "mov matroska avi flv asf ogg mpeg mpegvideo mpegts mxf dv ivf gif h264 hevc m4v obu yuv4mpegpipe"
    " mp3 wav flac aac".split()
)
"""Formats that FFmpeg may read: those that contain pictures and sound themselves.

Playlists, lists and session descriptions (HLS, DASH, concat, SDP) are not among them: they name other files
and URLs that FFmpeg would then open.
"""
PADDED, PADDING_PX = 1.25, 1 << 16


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
        options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
        return options | self.decoder_options

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
    try:
        about = path.stat()
    except FileNotFoundError:
        what = "a link to nothing" if path.is_symlink() else "no such file"
        raise unreadable(path, what) from None
    except OSError as err:
        raise unreadable(path, str(err.strerror)) from err
    if not stat.S_ISREG(about.st_mode):
        raise unreadable(path, "not a regular file")
    if not about.st_size:
        raise unreadable(path, "an empty file")
    with decode_errors(path, "video or image"):
        limits.check("max_bytes", about.st_size, f"it is {about.st_size} bytes long")


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


def unreadable(path: Path, why: str) -> DecodeError:
    """The error for a file that is not even opened."""
    return DecodeError(f"{path}: not a readable video or image ({why})")
