"""A person's probs over the time of a video, as places in a plot of 1,000 by 100."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfake.reports.people import clock
from deepfake.scoring.prediction import TrackPrediction, WindowPrediction

MAX_POINTS = 240
WIDTH, HEIGHT = 1000.0, 100.0


@dataclass(frozen=True, slots=True)
class Point:
    """One window, or neighbouring ones of a long video: mean prob, lowest and highest. y grows downwards."""

    x: float
    y: float
    y_low: float
    y_high: float
    prob: float
    title: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """points: in order. spans: x and width of stretches with the face. ticks: x in percent, and the time."""

    points: tuple[Point, ...]
    spans: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, str], ...]


def timeline(track: TrackPrediction, end_s: float, *, max_points: int = MAX_POINTS) -> Timeline:
    """The timeline of a person in a video that ends at end_s > 0."""
    windows = sorted(track.windows, key=lambda window: window.start_s)
    groups = np.array_split(np.arange(len(windows)), min(len(windows), max_points))
    spans = track.spans or ((track.start_s, track.end_s),)
    return Timeline(
        tuple(point([windows[place] for place in group], end_s) for group in groups if len(group)),
        tuple((WIDTH * start / end_s, max(2.0, WIDTH * (end - start) / end_s)) for start, end in spans),
        ticks(end_s),
    )


def point(windows: Sequence[WindowPrediction], end_s: float) -> Point:
    """The point of neighbouring windows, in the middle of their time."""
    probs = [window.prob for window in windows]
    start, end = windows[0].start_s, windows[-1].end_s
    mean = float(np.mean(probs))
    when = clock(start) if clock(start) == clock(end) else f"{clock(start)}–{clock(end)}"
    several = (
        f", {len(windows)} windows from {min(probs):.2f} to {max(probs):.2f}" if len(windows) > 1 else ""
    )
    return Point(
        x=round(WIDTH * (start + end) / 2 / end_s, 1),
        y=height_of(mean),
        y_low=height_of(min(probs)),
        y_high=height_of(max(probs)),
        prob=mean,
        title=f"{when}: {mean:.3f}{several}",
    )


def height_of(prob: float) -> float:
    """Where a prob stands, from the upper edge."""
    return round(HEIGHT * (1 - prob), 1)


def ticks(end_s: float, *, most: int = 5) -> tuple[tuple[float, str], ...]:
    """Round times from 0 on, at most so many, as percent of the width and as text."""
    steps = [base * unit for unit in (0.01, 0.1, 1.0) for base in (1, 2, 5)]
    steps += [10.0, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200]
    step = next((step for step in steps if end_s / step < most), end_s)
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    places = np.arange(0, end_s + 1e-9, step)
    return tuple((round(100 * place / end_s, 2), clock(place, digits=digits)) for place in places.tolist())
