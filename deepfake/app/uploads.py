"""Uploads: a request's file written to disk as it comes, and what it is by its content.

Names lie, and some formats make a decoder read other files. What is too large or no video is refused as soon
as that is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from deepfake.errors import DecodeError, UserError
from deepfake.io import visible
from deepfake.records import VideoInfo
from deepfake.video import probe as files
from deepfake.video.decode import IMAGE_SUFFIXES
from deepfake.video.probe import probe

FIELD = b"video"
FORM_BYTES = 65536
"""What the form around the file may take."""
LABEL_LENGTH = 120
MB = 1_000_000
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
    """What a video or picture is; raises UserError for what exceeds the limits or cannot be read.

    limits: of this page; file_limits: of conf/limits. The error does not name the file: the caller knows what
    the user calls it.
    """
    still = path.suffix in IMAGE_SUFFIXES
    # before any of its pixels are read: a small file can hold a huge frame
    width, height = image_size(path) if still else frame_size(path)
    if width * height > limits.max_pixels:
        raise UserError(
            f"its frames have {width} × {height} pixels, and this page takes up to {limits.max_pixels:,} "
            "(max_pixels)"
        )
    if still:
        return VideoInfo(
            num_frames=1,
            fps=0.0,
            width=width,
            height=height,
            rotation_deg=0,
            codec="image",
            container="image",
        )
    try:
        info = probe(path, file_limits)
    except DecodeError as err:
        raise UserError(str(err).removeprefix(f"{path}: ")) from err
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


class Refused(Exception):
    """An upload that is not taken: the HTTP status, and one sentence for the user."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class UploadReceiver:
    """The parser of one request: write(chunk) as chunks come, then close() for the file and its label.

    max_bytes: of the file. Both methods raise Refused, after which part of the file may be there.
    """

    def __init__(self, content_type: str, folder: Path, *, max_bytes: int) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(415, "send the video as the field “video” of a multipart/form-data request")
        self.folder, self.max_bytes = folder, max_bytes
        self.label = ""
        self.path: Path | None = None
        self._file: BinaryIO | None = None
        self._head, self._size, self._header, self._value = b"", 0, b"", b""
        self._parser = MultipartParser(
            options[b"boundary"],
            callbacks={
                "on_part_begin": self._begin_part,
                "on_header_field": self._take_header,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_part_data": self._take_data,
                "on_part_end": self._end_part,
            },
        )
        self._is_video = self._whole = False

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the request."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Refused(400, "this is not a readable multipart/form-data request") from None
        except OSError as err:
            raise Refused(507, f"the upload could not be stored here ({err.strerror})") from err

    def close(self) -> tuple[Path, str]:
        """The file, and its user's name for it, made safe to show."""
        if not self.label:
            raise Refused(400, "no file in the request: send it as its field “video”")
        if not self._whole:
            raise Refused(400, "the request ended in the middle of the upload")
        if self._file is None:
            self._open()
        self.discard()
        assert self.path is not None
        return self.path, self.label

    def discard(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()

    def _begin_part(self) -> None:
        self._is_video = False

    def _end_part(self) -> None:
        self._whole |= self._is_video

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name, value, self._header, self._value = self._header, self._value, b"", b""
        if name.lower() != b"content-disposition":
            return
        options = parse_options_header(value)[1]
        if options.get(b"name") == FIELD and b"filename" in options:
            if self.label:
                raise Refused(400, "one video per request, please")
            self._is_video = True
            self.label = safe_label(options[b"filename"].decode("utf-8", "replace"))

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_video:
            return
        self._size += end - start
        if self._size > self.max_bytes:
            raise too_large(self.label, self.max_bytes)
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._head += data[start:end]
        if len(self._head) >= HEAD_BYTES:
            self._open()

    def _open(self) -> None:
        suffix = suffix_of(self._head[:HEAD_BYTES])
        if suffix is None:
            raise Refused(415, f"{self.label} is not a video: its content is that of no film or picture")
        self.path = self.folder / f"upload{suffix}"
        self._file = self.path.open("xb")
        self._file.write(self._head)


async def receive(
    chunks: AsyncIterator[bytes], content_type: str, folder: Path, *, max_bytes: int
) -> tuple[Path, str]:
    """The file of a request, written below folder, and what to call it; raises Refused."""
    receiver = UploadReceiver(content_type, folder, max_bytes=max_bytes)
    taken = 0
    try:
        async for chunk in chunks:
            await run_in_threadpool(receiver.write, chunk)
            taken += len(chunk)
            if taken > max_bytes + FORM_BYTES:
                raise too_large(receiver.label or "the upload", max_bytes)
        return await run_in_threadpool(receiver.close)
    finally:
        receiver.discard()


def too_large(label: str, max_bytes: int) -> Refused:
    """The refusal of a file of more than max_bytes."""
    return Refused(413, f"{label} is larger than the {max_bytes / MB:g} MB that this page takes (max_mb)")


def safe_label(name: str) -> str:
    """A file's name without folders, short, and with control characters as their escapes."""
    shown = visible(name.replace("\\", "/").rpartition("/")[2]).strip()
    if len(shown) > LABEL_LENGTH:
        half = LABEL_LENGTH // 2
        shown = f"{shown[:half]}…{shown[-half:]}"
    return shown or "video without a name"
