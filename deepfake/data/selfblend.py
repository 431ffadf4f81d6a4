"""Self-blended images (Shiohara and Yamasaki, CVPR 2022) for windows: pseudo-fakes made of real faces.

A face is blended with a slightly changed copy of itself, which leaves the traces of a face swap: a blending
border, and two parts that do not quite match. Written after the paper; probabilities and sizes that it does
not give follow its code (github.com/mapooon/SelfBlendedImages, src/utils/sbi.py and blend.py). Differences:
masks come from five landmarks (see below), crops have the model's size before they are blended, and
everything random is drawn once per window.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepfake.data.augment import Sample, WindowTransform, to_uint8
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
SHIFT_X, SHIFT_Y, SCALE = 0.03, 0.015, 0.95  # at most: of the crop's side; scale to its inverse


class SelfBlend(WindowTransform):
    """Turns real windows into pseudo-fakes, label 1; fakes are not blended.

    reals_only: train without the split's own fakes, on pairs of a real window and the fake made of it, which
    differ by the blend alone. Otherwise a real window becomes a fake with probability prob.
    regions: of REGIONS; None = all. ratios: opacities of the inner copy; both are drawn uniformly.
    restyle: the change of colour or sharpness by which the two copies differ. It is applied to the inner or
    to the outer copy, and in half of the windows that stay real too, so that it does not give away the label.
    then: applied to every window afterwards.
    Raises UserError for a prob outside [0, 1] and for an unknown region.
    """

    def __init__(
        self,
        *,
        restyle: WindowTransform,
        then: WindowTransform,
        prob: float = 0.5,
        regions: Sequence[str] | None = None,
        ratios: Sequence[float] = RATIOS,
        reals_only: bool = True,
    ) -> None:
        if not 0 <= prob <= 1:
            raise UserError(f"augment.prob={prob}: must be from 0 to 1")
        self.restyle = restyle
        self.then = then
        self.prob = prob
        self.regions = list(REGIONS if regions is None else regions)
        self.ratios = list(ratios)
        self.reals_only = reals_only
        if not self.regions or not set(self.regions) <= set(REGIONS):
            raise UserError(f"augment.regions={self.regions}: known are {', '.join(REGIONS)}")

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The window, blended or not, after the changes that apply to all."""
        pair, second = divmod(seed, 2)
        rng = np.random.default_rng(pair if self.reals_only else seed)
        restyle_seed, then_seed = rng.integers(2**31, size=2).tolist()
        drawn, outer_restyled = rng.random() < self.prob, rng.random() < 0.5
        blended = bool(second) if self.reals_only else drawn
        region = self.regions[rng.integers(len(self.regions))]
        ratio = self.ratios[rng.integers(len(self.ratios))]
        restyled = self.restyle(sample, restyle_seed)
        outer, inner = (restyled, sample) if outer_restyled else (sample, restyled)
        if blended and sample.label == REAL:
            mask = draw_mask(region, rng) * np.float32(ratio)
            frames = self_blend(outer.frames, inner.frames, sample.landmarks, mask, rng)
            outer = Sample(frames, sample.landmarks, FAKE, f"{region} × {ratio:g}")
        return self.then(outer, then_seed)


def self_blend(
    outer: np.ndarray,
    inner: np.ndarray,
    landmarks: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Frames outer with the face of inner, both (T, S, S, 3) uint8; landmarks (T, 5, 2) in their pixels.

    mask: on the canvas of draw_mask; it follows the landmarks frame by frame. One shift and scale is drawn
    for all frames.
    """
    side = outer.shape[1]
    move = small_affine(side, rng)
    moved = np.stack([warp(frame, move, side, border=cv2.BORDER_REFLECT) for frame in inner])
    masks = np.stack([warp(mask, chain(move, face), side) for face in canvas_to_faces(landmarks)])
    return blend(outer, moved, masks)


def blend(outer: np.ndarray, inner: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) uint8: inner where mask (T, H, W) is 1, outer where it is 0, mixed in between."""
    change = np.subtract(inner, outer, dtype=np.float32)
    change *= mask[..., None]
    change += outer
    return to_uint8(change)


def small_affine(side: int, rng: np.random.Generator) -> np.ndarray:
    """Shift by up to 3% across and 1.5% down and scaling by up to 5%, about the centre, (2, 3)."""
    shift = rng.uniform(-1, 1, size=2) * (SHIFT_X, SHIFT_Y) * side
    scale = rng.uniform(SCALE, 1 / SCALE)
    return np.column_stack([scale * np.eye(2), shift + (1 - scale) * side / 2])


def chain(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) that applies first and then second."""
    return second @ np.vstack([first, (0, 0, 1)])


# Soft masks of a face, drawn on a frontal face and aligned with other faces by five landmarks.
#
# The authors' masks are convex hulls of 68 or 81 landmarks. Stores have five, so the outline comes from the
# proportions of a mean face, and an affine map per frame aligns it with the five points: the mask keeps its
# shape over a window and follows the face as it moves, turns and comes nearer.


# a face from the front; unit: the distance of the eyes, origin between them, x right, y down
LANDMARKS = np.array([(-0.5, 0), (0.5, 0), (0, 0.62), (-0.42, 1.15), (0.42, 1.15)])
BROWS = [(0.2, -0.32), (0.6, -0.4), (0.95, -0.28)]
FOREHEAD = [(0, -0.95), (0.45, -0.9), (0.85, -0.7), (1.1, -0.35)]
JAW = [(1.18, 0), (1.15, 0.5), (1.05, 1), (0.8, 1.48), (0.45, 1.82), (0, 1.94)]
# right halves of the masks' hulls: like those of 81 landmarks, of 68, and two parts that are often swapped
REGIONS = {
    "head": FOREHEAD + JAW,
    "face": BROWS + JAW,
    "features": [*BROWS, (0.85, 0.4), (0.65, 1.15), (0.35, 1.45)],
    "mouth": [(0.2, 0.3), (0.75, 0.75), (0.8, 1.3), (0.45, 1.75), (0, 1.85)],
}

# Side of the mask's canvas, like the 192 to 256 pixels of the authors' crops, which too are about two faces
# wide. The canvas shows y from -2.04 to 2.88.
CANVAS, PX_PER_UNIT, CENTRE_Y = 256, 52.0, 0.42
ELASTIC_PX = 3.0  # standard deviation of the outline's displacement
ELASTIC_GRID = 32  # values per side of its noise


def on_canvas(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the frontal face to pixels of the canvas; whole numbers are edges between pixels."""
    return (points - (0, CENTRE_Y)) * PX_PER_UNIT + CANVAS / 2


def draw_mask(region: str, rng: np.random.Generator) -> np.ndarray:
    """A region's hull, randomly bent, eroded and blurred, (CANVAS, CANVAS) float32 in [0, 1].

    Kernel sizes and sigma are those of dynamic_blend in the authors' code; bending replaces its
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
    """The mask (S, S) float32 under a small smooth random displacement."""
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
    by_centres = affine.copy()  # in OpenCV whole numbers are the centres of pixels
    by_centres[:, 2] += affine[:, :2].sum(axis=1) / 2 - 0.5
    return cv2.warpAffine(image, by_centres, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
