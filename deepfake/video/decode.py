"""Decoded frames as they are shown: RGB or reduced, whole or in part, converted when they are asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import overload

import av
import cv2
import numpy as np
from PIL import Image, ImageOps

from deepfake.errors import DecodeError
from deepfake.records import Frames
from deepfake.video.limits import LIMITS, LimitReached, Limits, check_file
from deepfake.video.probe import Scan, open_video, scan

log = logging.getLogger(__name__)

Decoded = av.VideoFrame | np.ndarray
"""A frame as its reader gives it: PyAV's own, usually YUV, or RGB (H, W, 3) uint8, turned."""
Part = tuple[slice, slice]
"""Rows and columns of a picture."""
PLANAR = frozenset("yuv420p yuvj420p yuv422p yuvj422p yuv444p yuvj444p".split())
"""Formats whose frames are three planes of bytes."""
FULL_CHROMA = frozenset({"yuv444p", "yuvj444p"})
"""Those in which no pixel takes its colour from a neighbour."""


class Shown(Sequence[np.ndarray]):
    """Frames as (H, W, 3) uint8 RGB, each converted whenever it is asked for.

    As the decoder gave them they take half the memory, and most are looked at once.
    """

    def __init__(self, frames: Sequence[Decoded]) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> Shown: ...
    def __getitem__(self, place: int | slice) -> np.ndarray | Shown:
        return Shown(self.frames[place]) if isinstance(place, slice) else to_rgb(self.frames[place])


def shown_part(frames: Sequence[np.ndarray], place: int, part: Part) -> np.ndarray:
    """A part (rows, columns) of a frame, (h, w, 3) uint8 RGB: the same bytes as if cut out of the whole.

    Of a frame that is slow to convert, that with all its colours (H.264's High 4:4:4), no more is converted.
    """
    frame = frames.frames[place] if isinstance(frames, Shown) else frames[place]
    if isinstance(frame, np.ndarray) or frame.format.name not in FULL_CHROMA or round(frame.rotation):
        return to_rgb(frame)[part]
    cut = av.VideoFrame.from_ndarray(np.stack([plane[part] for plane in planes_of(frame)]), frame.format.name)
    cut.colorspace, cut.color_range = frame.colorspace, frame.color_range
    return cut.to_ndarray(format="rgb24")


def small_yuv(
    frames: Sequence[np.ndarray],
    place: int,
    size: tuple[int, int],
    part: Part = (slice(None), slice(None)),
    *,
    interpolation: int,
) -> np.ndarray:
    """A part (rows, columns) of a frame in Y, Cb, Cr, resized to (width, height): (height, width, 3) uint8.

    A frame as the decoder gave it is not converted for that: its brightness has the video's own range.
    """
    frame = frames.frames[place] if isinstance(frames, Shown) else frames[place]
    if isinstance(frame, av.VideoFrame) and frame.format.name in PLANAR and not round(frame.rotation):
        whole = (frame.height, frame.width)
        cuts = (plane[scaled(part, plane.shape, whole)] for plane in planes_of(frame))
        return np.dstack([cv2.resize(cut, size, interpolation=interpolation) for cut in cuts])
    rgb = cv2.resize(to_rgb(frame)[part], size, interpolation=interpolation)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]


def planes_of(frame: av.VideoFrame) -> Iterator[np.ndarray]:
    """The planes of a frame in one of the formats PLANAR, (h, w) uint8 each, not copied."""
    for plane in frame.planes:
        whole_lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        yield whole_lines[:, : plane.width]


def size_of(frames: Sequence[np.ndarray], place: int) -> tuple[int, int]:
    """Height and width of a frame as shown, without converting it."""
    frame = frames.frames[place] if isinstance(frames, Shown) else frames[place]
    if isinstance(frame, np.ndarray):
        return frame.shape[0], frame.shape[1]
    turned = frame.rotation % 180 != 0
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def scaled(part: Part, shape: tuple[int, ...], whole: tuple[int, int]) -> Part:
    """A part of a picture of whole (height, width) in a plane of another shape, at least one pixel of it."""
    slices = []
    for own, size, full in zip(part, shape, whole, strict=True):
        start, stop, _ = own.indices(full)
        first = min(start * size // full, size - 1)
        slices.append(slice(first, max(-(-stop * size // full), first + 1)))
    return slices[0], slices[1]


def to_rgb(frame: Decoded) -> np.ndarray:
    """The frame as shown, (H, W, 3) uint8, turned as its rotation asks."""
    if isinstance(frame, np.ndarray):
        return frame
    rgb = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    return np.ascontiguousarray(rgb)


# Still images as videos of one frame.


IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""Others are read by other programs (EPS by Ghostscript), or by decoders that hardly anybody looks after."""


def read_image(path: Path, limits: Limits = LIMITS) -> Frames:
    """The image as shown (EXIF orientation applied), one RGB frame; raises DecodeError naming the file.

    What is beyond the limits raises LimitReached, a DecodeError, before any of it is decoded.
    """
    check_file(path, limits)
    try:
        with Image.open(path, formats=FORMATS) as image:
            limits.check_size(*image.size, image=True)
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except LimitReached as err:
        raise LimitReached(f"{path}: {err}") from err
    except Exception as err:  # Pillow raises many kinds for broken files
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise DecodeError(f"{path}: not a readable image ({reason})") from err
    return Frames([rgb], np.zeros(1, np.int64), np.zeros(1))


# Chosen frames of a video, decoded in one pass up to the last one: exact indices, one clip in memory.
#
# What no chosen frame leans on is not decoded: single frames that serve as no reference, and everything from
# the last frame that is wanted up to the key frame before the next one.


SKIPPING = frozenset("h264 hevc mpeg2video mpeg4".split())
"""Codecs whose decoder takes or leaves each frame as told; that of AV1 works ahead and loses wanted ones."""
LEAPING = SKIPPING | {"vp9"}
"""Codecs whose decoder can start at any key frame and is right from there on."""
NO_LEAPS: Mapping[int | None, int] = MappingProxyType({})


def read_clips(path: Path, clips: Sequence[np.ndarray], *, scanned: Scan | None = None) -> Iterator[Frames]:
    """The frames of each clip in turn; clips are ascending frame indices (L,) that do not overlap.

    scanned: what scan(path) said, if the caller has it. Raises DecodeError naming the file and the frame
    where reading broke, ValueError for clips out of order.
    """
    scanned = scanned or scan(path)
    wanted = np.concatenate([np.zeros(0, np.int64), *clips]).astype(np.int64)
    last = scanned.info.num_frames - 1
    if len(wanted) and (wanted[0] < 0 or wanted[-1] > last or (np.diff(wanted) <= 0).any()):
        raise ValueError(f"clips must ascend within 0 … {last}: {wanted.tolist()}")
    frames = decoded_frames(path, wanted, scanned)
    for clip in clips:
        yield Frames(Shown([next(frames) for _ in clip]), np.asarray(clip, np.int64), scanned.time_s[clip])


def read_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[np.ndarray]:
    """Each wanted frame, (H, W, 3) uint8 RGB as shown; see decoded_frames."""
    return map(to_rgb, decoded_frames(path, wanted, scanned))


def decoded_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[Decoded]:
    """Each wanted frame; wanted: ascending indices. Raises DecodeError naming the file and the frame.

    Where one reader fails, the next one goes on from the frame that is due.
    """
    done = 0
    for read in readers(scanned):
        try:
            for frame in read(path, wanted[done:], scanned):
                yield frame
                done += 1
            return
        except Exception as err:  # whatever it was, the next one reads on or says what is wrong
            log.debug("%s: %s gave up after %d frames: %s", path, read.__name__, done, err)
            reason = str(err).splitlines()[0] if str(err) else type(err).__name__
    where = f"frame {wanted[min(done, len(wanted) - 1)]} of {scanned.info.num_frames}"
    raise DecodeError(f"{path}: decoding broke at {where} ({reason})")


def readers(scanned: Scan) -> list[Callable[[Path, np.ndarray, Scan], Iterator[Decoded]]]:
    """What can read such a file, best first: PyAV where it has time stamps, elsewhere decord."""
    if scanned.stamps is None:
        return [decord_frames, pyav_frames] if decord_can(scanned) else [pyav_frames]
    return [leaping_frames, pyav_frames] if scanned.info.codec in LEAPING else [pyav_frames]


def decord_can(scanned: Scan) -> bool:
    """Whether decord reads such a file right.

    It has no AV1, confuses H.264 in AVI, and now and then the last B-frames of any codec there, starts some
    frames late in MPEG-TS, ignores edit lists, and turns pictures in MP4 and MOV only.
    """
    info = scanned.info
    confused = info.container == "mpegts" or (
        info.container == "avi" and (info.codec == "h264" or scanned.reordered)
    )
    turned = info.rotation_deg != 0 and info.container != "mov"
    return info.codec != "av1" and not confused and not turned and not scanned.trimmed


def decord_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[np.ndarray]:
    """Wanted frames by decord, in order; most of those between are passed without colour conversion."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    # its FFmpeg has no white lists: a whole path is no address, and PyAV's has let the content through
    reader = decord.VideoReader(os.path.abspath(path), ctx=decord.cpu(0), num_threads=1)
    if len(reader) != scanned.info.num_frames:
        raise ValueError(f"decord counts {len(reader)} frames, the packets {scanned.info.num_frames}")
    keys = np.asarray(reader.get_key_indices(), np.int64)
    due = 0
    for index in wanted.tolist():
        # a skip over a key frame seeks, and lands beside the mark in open groups: next() walks across it
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


def leaping_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[av.VideoFrame]:
    """Wanted frames as pyav_frames gives them, by leaps to key frames; a damaged picture is an error.

    A file may call frames key frames that lean on others (gradual refresh): decoders then hold pictures back
    or mark them.
    """
    for frame in pyav_frames(path, wanted, scanned, leaps=leaps(wanted, scanned)):
        if frame.is_corrupt:
            raise ValueError("the frame leans on one before its key frame")
        yield frame


def pyav_frames(
    path: Path, wanted: np.ndarray, scanned: Scan, *, leaps: Mapping[int | None, int] = NO_LEAPS
) -> Iterator[av.VideoFrame]:
    """Wanted frames by PyAV, to be turned as to_rgb does; leaps: see decoded.

    Frames are known by their stamps where the file has them, so that a lost one is an error and no shift.
    """
    places = None if scanned.stamps is None else {s: i for i, s in enumerate(scanned.stamps.tolist())}
    left = iter(wanted.tolist())
    due = next(left, None)
    if due is None:
        return
    container, stream = open_video(path, scanned.limits)
    with container:
        for count, frame in enumerate(decoded(container, stream, wanted, scanned, leaps)):
            index = count if places is None else places.get(frame.pts)
            if index is None or index > due:
                raise ValueError("the frame is lost or its time stamp is")
            if index == due:
                turned = frame.rotation % 180 != 0
                check_size(*((frame.height, frame.width) if turned else (frame.width, frame.height)), scanned)
                yield frame
                due = next(left, None)
                if due is None:
                    return
    raise EOFError("the video ends early")


def leaps(wanted: np.ndarray, scanned: Scan) -> dict[int | None, int]:
    """Where decoding may leave out frames: stamp of a wanted one -> that of the key frame to go on from.

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


def decoded(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    wanted: np.ndarray,
    scanned: Scan,
    leaps: Mapping[int | None, int] = NO_LEAPS,
) -> Iterator[av.VideoFrame]:
    """Frames in order of presentation, all wanted ones among them.

    Of the others those that serve as no reference are not decoded (B-frames mostly, a third to half of a
    usual video), nor those that a leap passes over, which changes no other frame. Without stamps every frame
    is, since they must be counted.
    """
    if scanned.stamps is None:
        yield from container.decode(stream)
        return
    decoder, fed = stream.codec_context, set[int | None]()
    skipping = scanned.info.codec in SKIPPING
    wanted_stamps = set(scanned.stamps[wanted].tolist())
    going_on = leaps.get(None)
    for packet in container.demux(stream):
        if going_on is not None:
            if packet.pts != going_on:
                continue
            decoder.flush_buffers()
            going_on = None
        fed.add(packet.pts)
        if skipping:
            decoder.skip_frame = "DEFAULT" if packet.pts in wanted_stamps else "NONREF"
        for frame in packet.decode():
            yield frame
            following = leaps.get(frame.pts)
            if following is not None and following not in fed:  # decoders are some packets ahead
                going_on = following
                break


def check_size(width: int, height: int, scanned: Scan) -> None:
    """Raise ValueError if a shown frame is not of the video's size."""
    if (height, width) != (scanned.info.height, scanned.info.width):
        raise ValueError(f"it is {width}x{height}, the video {scanned.info.width}x{scanned.info.height}")
