"""Faces with their scores, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepfake.faces.crop import decode_jpeg
from deepfake.faces.video_faces import VideoFaces
from deepfake.reports.palette import FAKE_COLOUR, INK, REAL_COLOUR
from deepfake.reports.plots import plain_name, save

FACE_PX = 160


@dataclass(frozen=True, slots=True)
class ScoredFace:
    """A crop (S, S, 3) uint8, the method that made its video, and the video's prob."""

    crop: np.ndarray
    method: str
    label: int
    prob: float


def plot_faces(faces: Sequence[ScoredFace], threshold: float, path: Path, *, columns: int = 8) -> None:
    """A grid of faces under their method, each framed by its true label, its prob below; misses in bold."""
    num_rows = -(-len(faces) // columns)
    figure = Figure(figsize=(columns * 1.15, num_rows * 1.5), dpi=110, layout="constrained")
    grid = figure.subplots(num_rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, face in zip(grid.flat, faces, strict=False):
        draw_face(axes, face, threshold)
    save(figure, path)


def middle_face(faces: VideoFaces) -> np.ndarray:
    """The crop (S, S, 3) uint8 RGB in the middle of a video's first track."""
    rows = faces.track_rows[0]
    return decode_jpeg(faces.jpegs([rows[len(rows) // 2]])[0])


def draw_face(axes: Axes, face: ScoredFace, threshold: float) -> None:
    """One face of the grid."""
    colour = FAKE_COLOUR if face.label else REAL_COLOUR
    axes.imshow(cv2.resize(face.crop, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA))
    axes.add_patch(Rectangle((0, 0), FACE_PX - 1, FACE_PX - 1, fill=False, edgecolor=colour, linewidth=3))
    missed = (face.prob >= threshold) != bool(face.label)
    axes.set_title(plain_name(face.method), fontsize=8, color=colour, pad=3)
    axes.text(
        FACE_PX / 2,
        FACE_PX * 1.13,
        f"{face.prob:.2f}" + (" missed" if missed else ""),
        ha="center",
        fontsize=8,
        color=INK,
        fontweight="bold" if missed else "normal",
    )


def spread_over_methods(methods: Sequence[str], count: int) -> list[int]:
    """At most count places, taking the methods in turn so that each is seen, ordered by method."""
    by_method: dict[str, list[int]] = {}
    for place, method in enumerate(methods):
        by_method.setdefault(method, []).append(place)
    turns = sorted(
        (turn, method, place) for method, places in by_method.items() for turn, place in enumerate(places)
    )
    return [place for _, _, place in sorted(turns[:count], key=lambda t: (t[1] != "real", t[1], t[0]))]
