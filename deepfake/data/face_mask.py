"""Soft masks of a face, drawn once on a face seen from the front and laid onto others by five landmarks.

Self-blended images take the convex hull of 68 or 81 landmarks. Stores hold five, so the outline comes from
the proportions of a mean face, and an affine map per frame lays it where the five points are: the mask keeps
its shape over a window and follows the face as it moves, turns and comes nearer.
"""

from __future__ import annotations

import cv2
import numpy as np

# a face from the front; unit: the distance of the eyes, origin between them, x right, y down
LANDMARKS = np.array([(-0.5, 0), (0.5, 0), (0, 0.62), (-0.42, 1.15), (0.42, 1.15)])
BROWS = [(0.2, -0.32), (0.6, -0.4), (0.95, -0.28)]
FOREHEAD = [(0, -0.95), (0.45, -0.9), (0.85, -0.7), (1.1, -0.35)]
JAW = [(1.18, 0), (1.15, 0.5), (1.05, 1), (0.8, 1.48), (0.45, 1.82), (0, 1.94)]
# right halves of the hulls that masks are drawn from: of 81 landmarks, of 68, and two parts that are swapped
REGIONS = {
    "head": FOREHEAD + JAW,
    "face": BROWS + JAW,
    "features": [*BROWS, (0.85, 0.4), (0.65, 1.15), (0.35, 1.45)],
    "mouth": [(0.2, 0.3), (0.75, 0.75), (0.8, 1.3), (0.45, 1.75), (0, 1.85)],
}

# The mask is drawn on a canvas of this side, like the 192 to 256 pixels of the authors' code, whose crops too
# are about two faces wide. The canvas shows y from -2.04 to 2.88.
CANVAS, PX_PER_UNIT, CENTRE_Y = 256, 52.0, 0.42
ELASTIC_PX = 3.0  # standard deviation of the outline's displacement
ELASTIC_GRID = 32  # its noise has so many values a side


def on_canvas(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the frontal face to pixels of the canvas; whole numbers are edges between pixels."""
    return (points - (0, CENTRE_Y)) * PX_PER_UNIT + CANVAS / 2


def draw_mask(region: str, rng: np.random.Generator) -> np.ndarray:
    """A region's hull bent at random, shrunk and blurred, (CANVAS, CANVAS) float32 in [0, 1].

    Kernel sizes and sigma are those of dynamic_blend in the authors' code; bending the outline stands for its
    ElasticTransform.
    """
    half = np.array(REGIONS[region])
    hull = cv2.convexHull(on_canvas(np.concatenate([half, half * (-1, 1)])).round().astype(np.int32))
    mask = cv2.fillConvexPoly(np.zeros((CANVAS, CANVAS), np.float32), hull, 1.0)
    mask = bend(mask, rng)
    shrink, feather = (2 * rng.integers(2, 13, size=2) + 1).tolist()
    mask = cv2.erode(mask, np.ones((shrink, shrink)))
    mask = cv2.GaussianBlur(mask, (feather, feather), float(rng.integers(5, 46)))
    return mask / mask.max()


def bend(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask (S, S) float32 with every place moved a little, neighbours alike."""
    noise = cv2.GaussianBlur(rng.standard_normal((ELASTIC_GRID, ELASTIC_GRID, 2), np.float32), (0, 0), 1)
    shift = cv2.resize(noise / noise.std() * ELASTIC_PX, mask.shape, interpolation=cv2.INTER_CUBIC)
    place = np.indices(mask.shape, np.float32)[::-1].transpose(1, 2, 0) + shift
    x, y = cv2.split(place)
    return np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR))


def canvas_to_faces(landmarks: np.ndarray) -> np.ndarray:
    """Affine maps from the canvas to faces, (T, 2, 3): least squares over landmarks (T, 5, 2) in pixels."""
    points = np.column_stack([on_canvas(LANDMARKS), np.ones(5)])
    return (np.linalg.pinv(points) @ np.asarray(landmarks, np.float64)).transpose(0, 2, 1)


def warp(
    image: np.ndarray, affine: np.ndarray, side: int, *, border: int = cv2.BORDER_CONSTANT
) -> np.ndarray:
    """The image moved by an affine map (2, 3) of pixel edges, (side, side) or (side, side, 3)."""
    by_centres = affine.copy()  # OpenCV's whole numbers are the centres of pixels
    by_centres[:, 2] += affine[:, :2].sum(axis=1) / 2 - 0.5
    return cv2.warpAffine(image, by_centres, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
