"""Which frames of a video are sampled: clips of neighbouring frames, evenly spread. Pure functions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def clip_indices(num_frames: int, *, num_clips: int | None, clip_frames: int) -> list[np.ndarray]:
    """Frame indices of each clip, (clip_frames,) int64, consecutive, never overlapping.

    The first clip starts with the video and the last ends with it; a single clip sits in the middle. A
    video too short for all clips gets fewer; one shorter than a clip gives one clip of all its frames.
    num_clips: None = every frame, in clips one right after the other, of which the last may be shorter.
    """
    if num_clips is None:
        return chunks(np.arange(num_frames), clip_frames)
    length = min(clip_frames, num_frames)
    count = max(1, min(num_clips, num_frames // max(length, 1)))
    last = num_frames - length
    starts = np.linspace(0, last, count).round().astype(np.int64) if count > 1 else [last // 2]
    return [start + np.arange(length) for start in starts]


def key_frame_clips(
    num_frames: int, keys: np.ndarray, *, num_clips: int | None, clip_frames: int
) -> list[np.ndarray]:
    """Like clip_indices, but from each of num_clips equal parts the clip that is cheapest to decode.

    keys: (K,) int64, ascending indices of key frames, from which decoding can start. A part's clip begins at
    its first key frame, or with the part if it has none: frames before a key frame need not be decoded.
    """
    even = clip_indices(num_frames, num_clips=num_clips, clip_frames=clip_frames)
    if num_clips is None or len(even) == 1:
        return even
    length, bounds = len(even[0]), np.linspace(0, num_frames, len(even) + 1).astype(int).tolist()
    clips = []
    for start, stop in pairwise(bounds):
        here = keys[(keys >= start) & (keys <= stop - length)]
        clips.append((int(here[0]) if len(here) else start) + np.arange(length))
    return clips


def timed_clip_indices(
    time_s: np.ndarray, *, num_clips: int | None, clip_frames: int, sample_fps: float
) -> list[np.ndarray]:
    """Like clip_indices, but a clip's frames stand about 1 / sample_fps seconds apart.

    time_s: (N,) presentation times in ascending order. The frame nearest to each wanted time is taken,
    and no frame twice: where the video is slower than sample_fps, consecutive frames are taken.
    """
    if num_clips is None:
        whole = timed_clip_indices(time_s, num_clips=1, clip_frames=len(time_s), sample_fps=sample_fps)
        return chunks(np.concatenate(whole), clip_frames)
    frame_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    step_s = max(1 / sample_fps, frame_s)
    end = float(time_s[-1] - time_s[0]) / step_s  # in steps, as all lengths below
    length = min(clip_frames, int(end + frame_s / step_s / 2) + 1, len(time_s))
    room = max(end - (length - 1), 0.0)
    count = max(1, min(num_clips, int((end + 1 + 1e-6) // length)))
    starts = np.linspace(0, room, count) if count > 1 else np.array([room / 2])
    order = np.arange(length)
    clips: list[np.ndarray] = []
    free = 0  # first frame that no clip has taken
    # a clip starts on a frame: from half-way between two, rounding would skip a frame
    for first in nearest(time_s, time_s[0] + starts * step_s):
        wanted = nearest(time_s, time_s[first] + order * step_s)
        # no frame twice, none that the clip before has, none beyond the end of the video
        clip = np.maximum.accumulate(np.maximum(wanted - order, free)) + order
        clip = np.minimum(clip, len(time_s) - length + order)
        clip = clip[clip >= free]
        if len(clip):
            clips.append(clip)
            free = int(clip[-1]) + 1
    return clips


def chunks(frames: np.ndarray, length: int) -> list[np.ndarray]:
    """Frame indices in chunks of this length; the last may be shorter."""
    return [frames[start : start + length] for start in range(0, len(frames), length)]


def nearest(time_s: np.ndarray, wanted_s: np.ndarray) -> np.ndarray:
    """Index of the frame nearest to each wanted time, (M,) int64; of two equally near ones the earlier."""
    after = np.clip(np.searchsorted(time_s, wanted_s), 1, max(len(time_s) - 1, 1))
    before = after - 1
    later = np.minimum(after, len(time_s) - 1)
    return np.where(wanted_s - time_s[before] <= time_s[later] - wanted_s, before, later)
