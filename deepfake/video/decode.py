"""Chosen frames of a video or a still image, decoded in one pass; converted to RGB when they are asked for.

Indices are exact, and one clip at a time is in memory. What no chosen frame depends on is not decoded: single
frames that serve as no reference, and everything from the last frame that is wanted up to the key frame
before the next one.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import overload

import av
import cv2
import numpy as np
from PIL import Image, ImageOps

from deepfake.errors import DecodeError
from deepfake.records import Frames
from deepfake.video.probe import (
    AS_CODED,
    LIMITS,
    Limits,
    Scan,
    check_file,
    decode_errors,
    displayed_size,
    open_video,
    orientation,
    scan,
    square_pixel_size,
)

log = logging.getLogger(__name__)

Decoded = av.VideoFrame | np.ndarray
"""A frame as it is displayed: PyAV's own, usually YUV, or RGB (H, W, 3) uint8."""
Region = tuple[slice, slice]
"""Rows and columns of a frame."""
PLANAR = frozenset("yuv420p yuvj420p yuv422p yuvj422p yuv444p yuvj444p".split())
"""Formats whose frames are three planes of bytes."""
FULL_CHROMA = frozenset({"yuv444p", "yuvj444p"})
"""Planar formats without chroma subsampling."""
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""Pillow reads others by other programs (EPS by Ghostscript) or by decoders that are hardly maintained."""
SKIPPABLE = frozenset("h264 hevc mpeg2video mpeg4".split())
"""Codecs whose decoder obeys skip_frame for each packet; that of AV1 works ahead and loses wanted frames."""
DECORD_CONTAINERS = {
    "avi": re.compile(rb"RIFF.{4}AVI ", re.DOTALL),
    "matroska": re.compile(rb"\x1aE\xdf\xa3"),
    "mov": re.compile(rb".{4}(ftyp|moov|mdat|wide|free|skip)", re.DOTALL),
    "flv": re.compile(rb"FLV\x01"),
    "asf": re.compile(rb"0&\xb2u\x8ef\xcf\x11"),
}
"""Containers that decord may read, by the name that PyAV gives them, and how such files begin.

Its FFmpeg has no allow lists: of other files, such as raw streams, it might recognise a playlist.
"""
KEY_FRAME_SEEKABLE = SKIPPABLE | {"vp9"}
"""Codecs whose decoder can start at any key frame and decodes every later frame correctly."""


def read_clips(path: Path, clips: Sequence[np.ndarray], *, scanned: Scan | None = None) -> Iterator[Frames]:
    """The frames of each clip in turn; clips are ascending frame indices (L,) that do not overlap.

    scanned: result of scan(path), if the caller has it. Raises DecodeError naming the file and the frame
    where reading broke, ValueError for clips out of order.
    """
    scanned = scanned or scan(path)
    wanted = np.concatenate([np.zeros(0, np.int64), *clips]).astype(np.int64)
    last = scanned.info.num_frames - 1
    if len(wanted) and (wanted[0] < 0 or wanted[-1] > last or (np.diff(wanted) <= 0).any()):
        raise ValueError(f"clips must ascend within 0 … {last}: {wanted.tolist()}")
    frames = decode_frames(path, wanted, scanned)
    for clip in clips:
        yield Frames(
            LazyFrames([next(frames) for _ in clip]), np.asarray(clip, np.int64), scanned.time_s[clip]
        )


def read_image(path: Path, limits: Limits = LIMITS) -> Frames:
    """The image, EXIF orientation applied, as one RGB frame; raises DecodeError naming the file.

    A file beyond the limits raises LimitReached, a DecodeError, before any of it is decoded.
    """
    check_file(path, limits)
    with decode_errors(path, "image"), Image.open(path, formats=IMAGE_FORMATS) as image:
        limits.check_size(*image.size, image=True)
        rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return Frames([rgb], np.zeros(1, np.int64), np.zeros(1))


def read_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[np.ndarray]:
    """Each wanted frame as it is displayed, (H, W, 3) uint8 RGB; see decode_frames."""
    return map(to_rgb, decode_frames(path, wanted, scanned))


def decode_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[Decoded]:
    """Each wanted frame; wanted: ascending indices. Raises DecodeError naming the file and the frame.

    Where one reader fails, the next one continues from the first frame that is still missing.
    """
    done = 0
    for read in readers(scanned):
        try:
            for frame in read(path, wanted[done:], scanned):
                yield frame
                done += 1
            return
        except Exception as err:  # of any kind: the next reader continues, or reports what is wrong
            log.debug("%s: %s gave up after %d frames: %s", path, read.__name__, done, err)
            reason = str(err).splitlines()[0] if str(err) else type(err).__name__
    where = f"frame {wanted[min(done, len(wanted) - 1)]} of {scanned.info.num_frames}"
    raise DecodeError(f"{path}: decoding broke at {where} ({reason})")


def readers(scanned: Scan) -> list[Callable[[Path, np.ndarray, Scan], Iterator[Decoded]]]:
    """Readers for a file, best first: PyAV where the file has time stamps, else decord."""
    if scanned.stamps is None:
        return [decord_frames, pyav_frames] if decord_is_exact(scanned) else [pyav_frames]
    return [pyav_frames_from_keys, pyav_frames] if scanned.info.codec in KEY_FRAME_SEEKABLE else [pyav_frames]


def decord_is_exact(scanned: Scan) -> bool:
    """Whether decord returns the right frames of such a file.

    It cannot decode AV1, mixes up H.264 in AVI and sometimes the last B-frames of any codec in AVI, starts
    some frames late in MPEG-TS, and ignores edit lists, most orientations and the shape of pixels.
    """
    info = scanned.info
    mixed_up = info.container == "mpegts" or (
        info.container == "avi" and (info.codec == "h264" or scanned.reordered)
    )
    return info.codec != "av1" and not mixed_up and scanned.as_coded and not scanned.trimmed


def decord_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[np.ndarray]:
    """Wanted frames by decord, in order; most frames between are skipped without colour conversion."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    with path.open("rb") as file:
        begins = DECORD_CONTAINERS.get(scanned.info.container)
        if begins is None or not begins.match(file.read(16)):
            raise ValueError(f"decord is not given {scanned.info.container} files")
        # not by its name: that could select a reader of other files (x%03d.png), and its log would print it
        name = f"/dev/fd/{file.fileno()}" if os.path.exists("/dev/fd") else os.path.abspath(path)
        reader = decord.VideoReader(name, ctx=decord.cpu(0), num_threads=1)
    if len(reader) != scanned.info.num_frames:
        raise ValueError(f"decord counts {len(reader)} frames, the packets {scanned.info.num_frames}")
    keys = np.asarray(reader.get_key_indices(), np.int64)
    due = 0
    for index in wanted.tolist():
        # skipping over a key frame seeks, which is inexact in open groups: read key frames with next()
        for key in keys[(keys > due) & (keys <= index)].tolist():
            if due < key - 1:
                reader.skip_frames(key - 1 - due)
            reader.next()
            due = key
        if due < index:
            reader.skip_frames(index - due)
        rgb = reader.next().asnumpy()
        check_size(rgb.shape[1], rgb.shape[0], scanned)
        yield rgb
        due = index + 1


def pyav_frames_from_keys(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[Decoded]:
    """Wanted frames like pyav_frames, but decoding skips ahead to key frames; a corrupt frame is an error.

    Files with gradual refresh mark frames as key frames that depend on others: decoders then hold frames back
    or flag them as corrupt.
    """
    return pyav_frames(path, wanted, scanned, skips=key_frame_skips(wanted, scanned))


def pyav_frames(
    path: Path, wanted: np.ndarray, scanned: Scan, *, skips: Mapping[int | None, int] | None = None
) -> Iterator[Decoded]:
    """Wanted frames by PyAV; skips: see key_frame_skips, with which a corrupt frame is an error.

    Frames are identified by their time stamps where the file has them, so that a lost frame is an error
    instead of a shift.
    """
    places = None if scanned.stamps is None else {s: i for i, s in enumerate(scanned.stamps.tolist())}
    left = iter(wanted.tolist())
    due = next(left, None)
    if due is None:
        return
    container, stream = open_video(path, scanned.limits)
    with container:
        for count, frame in enumerate(decode_stream(container, stream, wanted, scanned, skips or {})):
            index = count if places is None else places.get(frame.pts)
            if index is None or index > due:
                raise ValueError("the frame is lost or its time stamp is")
            if index == due:
                if skips and frame.is_corrupt:
                    raise ValueError("the frame depends on one before its key frame")
                check_size(*displayed_size(frame, scanned.sample_aspect), scanned)
                yield as_displayed(frame, scanned.sample_aspect)
                due = next(left, None)
                if due is None:
                    return
    raise EOFError("the video ends early")


def key_frame_skips(wanted: np.ndarray, scanned: Scan) -> dict[int | None, int]:
    """Where decoding may skip frames: time stamp of a wanted frame -> that of the key frame to continue from.

    None -> the key frame to start from. wanted: ascending indices, at least one.
    """
    assert scanned.stamps is not None
    stamps, keys = scanned.stamps.tolist(), scanned.keys.tolist()
    which = (np.searchsorted(scanned.keys, wanted, side="right") - 1).tolist()
    found: dict[int | None, int] = {}
    last, last_group = None, -1
    for index, group in zip(wanted.tolist(), which, strict=True):
        if group > last_group:
            found[last] = stamps[keys[group]]
        last, last_group = stamps[index], group
    return found


def decode_stream(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    wanted: np.ndarray,
    scanned: Scan,
    skips: Mapping[int | None, int],
) -> Iterator[av.VideoFrame]:
    """Frames in order of presentation, all wanted ones among them.

    Unwanted frames that serve as no reference are not decoded (mostly B-frames, a third to half of a usual
    video), nor those that are skipped up to a key frame; neither changes any other frame. Without time stamps
    every frame is decoded, since frames must be counted.
    """
    if scanned.stamps is None:
        yield from container.decode(stream)
        return
    decoder, fed = stream.codec_context, set[int | None]()
    skippable = scanned.info.codec in SKIPPABLE
    wanted_stamps = set(scanned.stamps[wanted].tolist())
    resume_at = skips.get(None)
    for packet in container.demux(stream):
        if resume_at is not None:
            if packet.pts != resume_at:
                continue
            decoder.flush_buffers()
            resume_at = None
        fed.add(packet.pts)
        if skippable:
            decoder.skip_frame = "DEFAULT" if packet.pts in wanted_stamps else "NONREF"
        for frame in packet.decode():
            yield frame
            following = skips.get(frame.pts)
            if following is not None and following not in fed:  # decoders are some packets ahead
                resume_at = following
                break


def check_size(width: int, height: int, scanned: Scan) -> None:
    """Raise ValueError if a frame, as it is displayed, is not of the video's size."""
    if (height, width) != (scanned.info.height, scanned.info.width):
        raise ValueError(f"it is {width}x{height}, the video {scanned.info.width}x{scanned.info.height}")


class LazyFrames(Sequence[np.ndarray]):
    """Frames as (H, W, 3) uint8 RGB, each converted whenever it is asked for.

    In the decoder's format they take half the memory, and most are needed once.
    """

    def __init__(self, frames: Sequence[Decoded]) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> LazyFrames: ...
    def __getitem__(self, place: int | slice) -> np.ndarray | LazyFrames:
        return LazyFrames(self.frames[place]) if isinstance(place, slice) else to_rgb(self.frames[place])


def decoded_frame(frames: Sequence[np.ndarray], step: int) -> Decoded:
    """A frame in the decoder's own format, if it is known in it."""
    return frames.frames[step] if isinstance(frames, LazyFrames) else frames[step]


def frame_size(frames: Sequence[np.ndarray], step: int) -> tuple[int, int]:
    """Height and width of a frame as it is displayed, without converting it."""
    frame = decoded_frame(frames, step)
    if isinstance(frame, np.ndarray):
        return frame.shape[0], frame.shape[1]
    return frame.height, frame.width


def rgb_region(frames: Sequence[np.ndarray], step: int, region: Region) -> np.ndarray:
    """A region of a frame, (h, w, 3) uint8 RGB: the same bytes as if it were cut out of the converted frame.

    4:4:4 frames (H.264's High 4:4:4) are slow to convert, so only the region of them is converted.
    """
    frame = decoded_frame(frames, step)
    if isinstance(frame, np.ndarray) or frame.format.name not in FULL_CHROMA:
        return to_rgb(frame)[region]
    planes = np.stack([plane[region] for plane in frame_planes(frame)])
    cut = av.VideoFrame.from_ndarray(planes, frame.format.name)
    cut.colorspace, cut.color_range = frame.colorspace, frame.color_range
    return cut.to_ndarray(format="rgb24")


def resized_yuv(
    frames: Sequence[np.ndarray],
    step: int,
    size: tuple[int, int],
    region: Region = (slice(None), slice(None)),
    *,
    interpolation: int,
) -> np.ndarray:
    """A region of a frame in Y, Cb, Cr, resized to (width, height): (height, width, 3) uint8.

    Planar YUV is not converted: its brightness keeps the video's own range.
    """
    frame = decoded_frame(frames, step)
    if isinstance(frame, av.VideoFrame) and frame.format.name in PLANAR:
        full = (frame.height, frame.width)
        cuts = (plane[scale_region(region, plane.shape, full)] for plane in frame_planes(frame))
        return np.dstack([cv2.resize(cut, size, interpolation=interpolation) for cut in cuts])
    rgb = cv2.resize(to_rgb(frame)[region], size, interpolation=interpolation)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]


def frame_planes(frame: av.VideoFrame) -> Iterator[np.ndarray]:
    """The planes of a frame in one of the formats PLANAR, (h, w) uint8 each, not copied."""
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        yield lines[:, : plane.width]


def scale_region(region: Region, shape: tuple[int, ...], full: tuple[int, int]) -> Region:
    """A region of a frame of size full (height, width) in a plane of another shape, at least one pixel."""
    slices = []
    for own, size, full_size in zip(region, shape, full, strict=True):
        start, stop, _ = own.indices(full_size)
        first = min(start * size // full_size, size - 1)
        slices.append(slice(first, max(-(-stop * size // full_size), first + 1)))
    return slices[0], slices[1]


def to_rgb(frame: Decoded) -> np.ndarray:
    """The frame as (H, W, 3) uint8 RGB."""
    return frame if isinstance(frame, np.ndarray) else frame.to_ndarray(format="rgb24")


def as_displayed(frame: av.VideoFrame, sample_aspect: Fraction) -> Decoded:
    """A frame with square pixels and in its orientation; unchanged if it is coded like that."""
    transposed, mirrored, upside_down = turned = orientation(frame)
    size = square_pixel_size(frame, sample_aspect)
    if turned == AS_CODED and size == (frame.width, frame.height):
        return frame
    rgb: np.ndarray = frame.to_ndarray(format="rgb24")
    if size != (frame.width, frame.height):
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC)
    if transposed:
        rgb = rgb.transpose(1, 0, 2)
    return np.ascontiguousarray(rgb[:: -1 if upside_down else 1, :: -1 if mirrored else 1])
