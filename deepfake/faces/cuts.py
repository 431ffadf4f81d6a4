"""Shot cuts among neighbouring sampled frames: where the colours of the whole picture change at once."""

from __future__ import annotations

import numpy as np

from deepfake.faces.looks import apart, scene_look
from deepfake.records import Frames


def cut_places(looks: np.ndarray, max_distance: float) -> list[int]:
    """Places n of pictures, by their looks (N, D), such that between n - 1 and n the distance is larger."""
    neighbours = [float(apart(looks[n : n + 1], looks[n + 1 : n + 2])[0, 0]) for n in range(len(looks) - 1)]
    return [n + 1 for n, distance in enumerate(neighbours) if distance > max_distance]


def scene_looks(frames: Frames) -> np.ndarray:
    """The look of every frame, (N, D) float32."""
    return np.stack([scene_look(frames.rgb, place) for place in range(len(frames))])


def split(frames: Frames, places: list[int]) -> list[Frames]:
    """The frames between cuts; places: first frames of shots, ascending, none of them 0."""
    starts, stops = [0, *places], [*places, len(frames)]
    return [
        Frames(frames.rgb[start:stop], frames.index[start:stop], frames.time_s[start:stop])
        for start, stop in zip(starts, stops, strict=True)
    ]
