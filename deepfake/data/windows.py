"""The frames of a track that are scored together: pure functions over frame numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from deepfake.faces.video_faces import VideoFaces
from deepfake.records import InputSpec, Window


@dataclass(frozen=True, slots=True)
class TrackFrames:
    """Locations of one track's crops: arrays (T,) in time order.

    video: row in the manifest. rows: in the video's store file, consecutive. clip, step: of the sampling;
    adjacent frames of one clip differ by one step. frame: index in the video.
    """

    video: int
    track: int
    rows: np.ndarray
    clip: np.ndarray
    step: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def window(self, places: Sequence[int], *, seed: int = 0) -> Window:
        """The window of these positions in the track."""
        rows = tuple(self.rows[list(places)].tolist())
        return Window(self.video, self.track, int(self.frame[places[0]]), rows, seed)


def track_frames(faces: VideoFaces, *, video: int = 0) -> list[TrackFrames]:
    """The locations of each track of a video, main face first; video: its row in the manifest."""
    clip, step, frame = (faces.column(name) for name in ("clip", "step", "frame"))
    return [
        TrackFrames(video, track, rows, clip[rows], step[rows], frame[rows])
        for track, rows in enumerate(faces.track_rows)
    ]


def window_starts(num_frames: int, length: int, stride: int) -> np.ndarray:
    """First frame of every window over a run of frames, (W,) int64.

    Together they cover all frames, unless stride is longer than length. The last window moves back to end on
    the last frame: 20 frames, length 16, stride 8 -> [0, 4]. A run shorter than one window gets [0]; the
    dataset repeats its last frame.
    """
    last = max(num_frames - length, 0)
    starts = np.arange(0, last + 1, stride, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def runs(clip: np.ndarray, step: np.ndarray) -> np.ndarray:
    """First and last position of every run of adjacent sampled frames, (R, 2) int64."""
    breaks = np.flatnonzero((np.diff(clip) != 0) | (np.diff(step) != 1))
    return np.stack([np.append(0, breaks + 1), np.append(breaks, len(clip) - 1)], axis=1)


def track_windows(track: TrackFrames, spec: InputSpec, *, hop: int) -> list[tuple[int, ...]]:
    """Positions in the track of each window's frames; windows start hop frames apart.

    No window spans a missing frame. If no run of adjacent frames is long enough, the longest one gives a
    single window that repeats its last frame.
    """
    bounds = runs(track.clip, track.step)
    lengths = bounds[:, 1] - bounds[:, 0] + 1
    long_enough = lengths >= spec.span
    chosen = bounds[long_enough] if long_enough.any() else bounds[[int(np.argmax(lengths))]]
    offsets = np.arange(spec.window) * spec.stride
    return [
        tuple(np.minimum(first + start + offsets, last).tolist())
        for first, last in chosen.tolist()
        for start in window_starts(last - first + 1, spec.span, hop).tolist()
    ]


def spread(num: int, count: int) -> np.ndarray:
    """At most count positions out of num, evenly spread from first to last; the middle one if count is 1."""
    if count >= num:
        return np.arange(num)
    return np.linspace(0, num - 1, count).round().astype(np.int64) if count > 1 else np.array([num // 2])


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """Which windows of a video are scored: always the same ones.

    max_windows: at most so many per track, evenly spread; None = all. hop: sampled frames from one window to
    the next; None sets them side by side. min_track_share: tracks with fewer frames than this share of the
    longest one are left out.
    """

    max_windows: int | None = 32
    hop: int | None = None
    min_track_share: float = 0.25


def scored_windows(
    tracks: Sequence[TrackFrames],
    spec: InputSpec,
    settings: EvalSettings,
    *,
    enough_frames: int | None = None,
) -> list[Window]:
    """The windows by which the video of these tracks is scored, in validation, test and prediction alike.

    enough_frames: a track of so many frames is scored however long others are.
    """
    longest = max((len(track) for track in tracks), default=0)
    least = settings.min_track_share * longest
    if enough_frames is not None:
        least = min(least, enough_frames)
    return [
        window
        for track in tracks
        if len(track) >= least
        for window in eval_windows(track, spec, max_windows=settings.max_windows, hop=settings.hop)
    ]


def eval_windows(
    track: TrackFrames, spec: InputSpec, *, max_windows: int | None, hop: int | None = None
) -> list[Window]:
    """Up to max_windows windows (None = all), evenly spread over the track and the same in every call.

    hop: sampled frames from one window to the next; None puts them side by side.
    """
    places = track_windows(track, spec, hop=hop or spec.span)
    chosen = spread(len(places), len(places) if max_windows is None else max_windows)
    return [track.window(places[which]) for which in chosen]


def batches_of_frames(windows: Sequence[Window], *, max_frames: int) -> list[list[Window]]:
    """Windows in batches of at most max_frames frames; windows that share frames are in one batch.

    windows: in order of video, track and start. Only a chain of overlapping windows with more than max_frames
    frames is divided, so that a few frames are in two batches; a batch has at least one window.
    """
    batches: list[list[Window]] = []
    frames: set[tuple[int, int]] = set()
    for chain in chains(windows):
        whole = len(frames_of(chain)) <= max_frames
        for piece in [chain] if whole else [[window] for window in chain]:
            own = frames_of(piece)
            if not batches or len(frames | own) > max_frames:
                batches.append([])
                frames = set()
            batches[-1] += piece
            frames |= own
    return batches


def frames_of(windows: Sequence[Window]) -> set[tuple[int, int]]:
    """The (video, row) of every frame in the windows."""
    return {(window.video, row) for window in windows for row in window.rows}


def chains(windows: Sequence[Window]) -> list[list[Window]]:
    """The windows in order, divided where one shares no frame with the one before."""
    found: list[list[Window]] = []
    for window in windows:
        last = found[-1][-1] if found else None
        if last and last.video == window.video and set(last.rows) & set(window.rows):
            found[-1].append(window)
        else:
            found.append([window])
    return found


Stratum = tuple[Hashable, ...]


def train_windows(
    tracks: Sequence[TrackFrames],
    strata: Sequence[Stratum],
    spec: InputSpec,
    *,
    windows_per_video: int,
    seed: int,
    epoch: int,
) -> list[Window]:
    """One epoch's windows in training order, a pure function of seed and epoch.

    tracks: one per video, each with its stratum, such as (label, corpus, method). Videos are drawn by
    balanced_picks, and a window uniformly from all windows of the track; each stratum is spread evenly over
    the epoch, so that batches are balanced too.
    """
    rng = np.random.default_rng([seed, epoch])
    picks = balanced_picks(strata, windows_per_video * len(tracks), rng)
    picks = picks[spread_evenly([strata[pick] for pick in picks], rng)]
    seeds = rng.integers(2**31, size=len(picks)).tolist()
    candidates = [track_windows(track, spec, hop=1) for track in tracks]
    return [
        tracks[pick].window(candidates[pick][rng.integers(len(candidates[pick]))], seed=window_seed)
        for pick, window_seed in zip(picks.tolist(), seeds, strict=True)
    ]


def pairs(windows: Sequence[Window]) -> list[Window]:
    """Each of the first half of the windows twice, side by side, with the seeds 2n and 2n + 1."""
    first = windows[: -(-len(windows) // 2)]
    return [window._replace(seed=2 * window.seed + second) for window in first for second in (0, 1)]


def balanced_picks(strata: Sequence[Stratum], num: int, rng: np.random.Generator) -> np.ndarray:
    """num items, (num,) int64: values of the strata's first entry equally often, then of the second …

    Numbers of draws differ by at most one. Within a stratum, items take turns in random order.
    """

    def draw(members: np.ndarray, num: int, depth: int) -> list[np.ndarray]:
        if depth == len(strata[0]):
            rounds = [rng.permutation(members) for _ in range(-(-num // len(members)))]
            return [np.concatenate(rounds)[:num]] if rounds else []
        values = sorted({strata[item][depth] for item in members}, key=str)
        picks = []
        for place, value in enumerate(values):
            share = num // len(values) + (place < num % len(values))
            own = np.array([item for item in members if strata[item][depth] == value])
            picks += draw(own, share, depth + 1)
        return picks

    return np.concatenate([*draw(np.arange(len(strata)), num, 0), np.zeros(0, np.int64)]).astype(np.int64)


def spread_evenly(strata: Sequence[Stratum], rng: np.random.Generator) -> np.ndarray:
    """A random order of items, (N,) int64, in which those of each stratum are about evenly spaced."""
    place = np.empty(len(strata))
    members: dict[Stratum, list[int]] = {}
    for item, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(item)
    for own in members.values():
        place[own] = (rng.permutation(len(own)) + rng.random(len(own))) / len(own)
    return np.argsort(place)
