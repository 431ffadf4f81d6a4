"""Chosen frames of a video, decoded in one pass from the start: exact indices, one clip in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepfake.errors import DecodeError
from deepfake.records import Frames
from deepfake.video.probe import Scan, scan


def read_clips(path: Path, clips: Sequence[np.ndarray], *, scanned: Scan | None = None) -> Iterator[Frames]:
    """The frames of each clip in turn; clips are ascending frame indices (L,) that do not overlap.

    scanned: what scan(path) said, if the caller has it. Raises DecodeError naming the file and the frame
    where reading broke, ValueError for clips out of order.
    """
    scanned = scanned or scan(path)
    wanted = np.concatenate([np.asarray(clip, np.int64) for clip in clips])
    last = scanned.info.num_frames - 1
    if len(wanted) and (wanted[0] < 0 or wanted[-1] > last or (np.diff(wanted) <= 0).any()):
        raise ValueError(f"clips must ascend within 0 … {last}: {wanted.tolist()}")
    frames = read_frames(path, wanted, scanned)
    for clip in clips:
        rgb = np.stack([next(frames) for _ in clip])
        yield Frames(rgb, np.asarray(clip, np.int64), scanned.time_s[clip])


def read_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[np.ndarray]:
    """Each wanted frame, (H, W, 3) uint8 RGB as shown; wanted: ascending indices.

    decord first; where it fails, PyAV goes on from the frame that is due.
    """
    done = 0
    if decord_can(scanned):
        try:
            for rgb in decord_frames(path, wanted, scanned):
                yield rgb
                done += 1
            return
        except Exception:
            pass
    try:
        for rgb in pyav_frames(path, wanted[done:]):
            yield rgb
            done += 1
    except Exception as err:
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        where = f"frame {wanted[min(done, len(wanted) - 1)]} of {scanned.info.num_frames}"
        raise DecodeError(f"{path}: decoding broke at {where} ({reason})") from err


def decord_can(scanned: Scan) -> bool:
    """Whether decord reads such a file right: it has no AV1, confuses H.264 in AVI, ignores edit lists."""
    info = scanned.info
    confused = info.container == "avi" and info.codec == "h264"
    return info.codec != "av1" and not confused and not scanned.trimmed


def decord_frames(path: Path, wanted: np.ndarray, scanned: Scan) -> Iterator[np.ndarray]:
    """Wanted frames by decord; those between are skipped without colour conversion."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    if len(reader) != scanned.info.num_frames:
        raise ValueError(f"decord counts {len(reader)} frames, the packets {scanned.info.num_frames}")
    shape = (scanned.info.height, scanned.info.width, 3)
    due = 0
    for index in wanted.tolist():
        if index > due:
            reader.skip_frames(index - due)
        rgb = reader.next().asnumpy()
        if rgb.shape != shape:
            raise ValueError(f"decord gives {rgb.shape}, not {shape}")
        yield rgb
        due = index + 1


def pyav_frames(path: Path, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Wanted frames by PyAV, turned as the file's rotation asks."""
    import av

    left = iter(wanted.tolist())
    due = next(left, None)
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in enumerate(container.decode(video=0)):
            if due is None:
                return
            if index == due:
                rgb = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield np.ascontiguousarray(rgb)
                due = next(left, None)
    if due is not None:
        raise EOFError("the video ends early")
