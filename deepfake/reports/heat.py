"""A heat map over the face that it is of."""

from __future__ import annotations

import cv2
import numpy as np

STRONGEST = 0.8  # share of the colour where heat is 1: the face must stay visible under it


def overlay(
    rgb: np.ndarray, heat: np.ndarray, *, start_px: int = 0, side_px: int | None = None
) -> np.ndarray:
    """A face (H, W, 3) uint8 in greys, and heat (h, w) in [0, 1] as colour over it, (H, W, 3) uint8.

    The colours are those of inferno, whose lightness rises evenly, and the hotter it is the thicker they lie;
    where heat is 0 the grey face shows. start_px, side_px: first row and column, and side, of the square that
    the heat map covers, framed if it is not all of the face.
    """
    height, width = rgb.shape[:2]
    side = side_px or min(height, width)
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    part = np.s_[start_px : start_px + side, start_px : start_px + side]
    warm = cv2.resize(heat.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colour = cv2.applyColorMap((255 * warm).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = STRONGEST * np.sqrt(warm)[..., None]
    shown = grey.copy()
    shown[part] = (grey[part] * (1 - share) + colour * share + 0.5).astype(np.uint8)
    if side < min(height, width):
        cv2.rectangle(
            shown, (start_px, start_px), (start_px + side - 1, start_px + side - 1), (255, 255, 255), 1
        )
    return shown
