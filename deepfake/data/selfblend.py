"""Self-blended images (Shiohara and Yamasaki, CVPR 2022) of windows: pseudo-fakes from real faces alone.

A face is blended with a slightly changed copy of itself, which leaves what every face swap leaves: a blending
border and two parts that do not quite match. Written after the paper; probabilities and sizes where it gives
none follow its code (github.com/mapooon/SelfBlendedImages, src/utils/sbi.py and blend.py). What differs:
masks come from five landmarks (see face_mask.py), crops have the model's size before they are blended, and
all that is drawn holds for a whole window.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepfake.data.face_mask import REGIONS, canvas_to_faces, draw_mask, warp
from deepfake.data.perturb import to_uint8
from deepfake.data.transforms import Sample, WindowTransform
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
SHIFT_X, SHIFT_Y, SCALE = 0.03, 0.015, 0.95  # at most: of the crop's side; scale to its inverse


class SelfBlend(WindowTransform):
    """Turns real windows into pseudo-fakes, label 1; fakes keep what they show.

    reals_only: train without the split's own fakes, on pairs of a real window and the fake made of it, which
    differ by the blend alone. Otherwise a real window becomes a fake with probability prob.
    regions: of face_mask.REGIONS; None = all. ratios: how opaque the inner copy is; both are drawn evenly.
    restyle: the change of colour or sharpness by which the two copies differ. It falls on the inner or on the
    outer one, and on the outer one of windows that stay real too: it must not tell them apart.
    then: what happens to every window afterwards.
    Raises UserError for a prob or region that cannot be.
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
        """The window, blended or not, after the changes that fall on all."""
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

    mask: on the canvas of face_mask.py; it follows the landmarks frame by frame. One shift and scale is drawn
    for all frames.
    """
    side = outer.shape[1]
    move = small_affine(side, rng)
    moved = np.stack([warp(frame, move, side, border=cv2.BORDER_REFLECT) for frame in inner])
    masks = np.stack([warp(mask, chain(move, face), side) for face in canvas_to_faces(landmarks)])
    return blend(outer, moved, masks)


def blend(outer: np.ndarray, inner: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """inner where mask (T, H, W) is 1, outer where it is 0, in between mixed; frames (T, H, W, 3) uint8."""
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
    """The affine map (2, 3) that does one and then the other."""
    return second @ np.vstack([first, (0, 0, 1)])
