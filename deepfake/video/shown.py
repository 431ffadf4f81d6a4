"""Decoded frames as they are shown: RGB or reduced, whole or in part, converted when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import av
import cv2
import numpy as np

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
