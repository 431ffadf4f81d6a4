"""Boxes, names and probs of faces, drawn into a picture: functions over arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepfake.reports.palette import FAKE_COLOUR, REAL_COLOUR, rgb_of
from deepfake.reports.people import person

DARK, LIGHT = (20, 20, 20), (255, 255, 255)
DARK_SHARE = 0.72  # of the ground under text: it reads on any picture, and the picture shines through
TEXT_SHARE = 0.036  # height of letters over the picture's short side


@dataclass(frozen=True, slots=True)
class Mark:
    """One face on one frame. box: xyxy in pixels. looked: the face was cut out there, not put in between."""

    track: int
    box: tuple[float, float, float, float]
    prob: float
    looked: bool


def annotate(rgb: np.ndarray, marks: Sequence[Mark], caption: str, *, threshold: float) -> np.ndarray:
    """A picture (H, W, 3) uint8 with its marks, and a caption in the lower left corner, (H, W, 3) uint8.

    A box is red from the threshold on and blue below it, thick where the face was looked at and thin where
    its place and prob lie between two looks. Over it stand name, prob, and a bar of the prob with a tick at
    the threshold.
    """
    picture = np.array(rgb)
    size_px = int(np.clip(round(TEXT_SHARE * min(picture.shape[:2])), 11, 44))
    for mark in marks:
        draw_box(picture, mark, line_px=max(2, size_px // 7), threshold=threshold)
    for mark in marks:  # no box lies over another one's name
        draw_name(picture, mark, size_px=size_px, threshold=threshold)
    draw_caption(picture, caption, size_px=size_px)
    return picture


def draw_box(picture: np.ndarray, mark: Mark, *, line_px: int, threshold: float) -> None:
    """The box in place, its line between two dark ones."""
    x0, y0, x1, y1 = (round(value) for value in mark.box)
    line = line_px if mark.looked else max(1, line_px // 3)
    cv2.rectangle(picture, (x0, y0), (x1, y1), DARK, line + 2)
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour_of(mark.prob, threshold), line)


def draw_name(picture: np.ndarray, mark: Mark, *, size_px: int, threshold: float) -> None:
    """Name, prob and bar in place: over the box, or inside it where there is no room above."""
    words = text_mask(f"{person(mark.track)}   {mark.prob:.2f}", size_px)
    pad, bar = max(3, size_px // 3), max(3, size_px // 4)
    width, height = words.shape[1] + 2 * pad, words.shape[0] + bar + 3 * pad
    left, top = mark.box[0] - 1, mark.box[1] - height - pad // 2
    x = int(np.clip(round(left), 0, max(0, picture.shape[1] - width)))
    y = int(np.clip(round(top if top >= 0 else mark.box[1] + pad), 0, max(0, picture.shape[0] - height)))
    darken(picture, x, y, width, height)
    write(picture, words, x + pad, y + pad)
    ends = x + pad, x + width - pad
    bar_top = y + height - pad - bar
    cv2.rectangle(picture, (ends[0], bar_top), (ends[1] - 1, bar_top + bar - 1), (110, 110, 110), -1)
    full = round(mark.prob * (ends[1] - ends[0]))
    if full:
        colour = colour_of(mark.prob, threshold)
        cv2.rectangle(picture, (ends[0], bar_top), (ends[0] + full - 1, bar_top + bar - 1), colour, -1)
    tick = ends[0] + round(threshold * (ends[1] - ends[0]))
    cv2.rectangle(picture, (tick - 1, bar_top - 2), (tick, bar_top + bar + 1), LIGHT, -1)


def draw_caption(picture: np.ndarray, caption: str, *, size_px: int) -> None:
    """Text in place, on a dark ground in the lower left corner."""
    words, pad = text_mask(caption, size_px), max(3, size_px // 3)
    height = words.shape[0] + 2 * pad
    y = max(0, picture.shape[0] - height)
    darken(picture, 0, y, words.shape[1] + 2 * pad, height)
    write(picture, words, pad, y + pad)


def darken(picture: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    """A rectangle in place, dimmed; what lies outside the picture is left out."""
    part = picture[y : y + height, x : x + width]
    part[:] = (part * (1 - DARK_SHARE) + np.array(DARK) * DARK_SHARE).astype(np.uint8)


def write(picture: np.ndarray, mask: np.ndarray, x: int, y: int) -> None:
    """Light text in place; what does not fit is left out."""
    part = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    share = mask[: part.shape[0], : part.shape[1], None] / 255
    part[:] = (part * (1 - share) + np.array(LIGHT) * share + 0.5).astype(np.uint8)


@lru_cache(maxsize=1024)
def text_mask(text: str, size_px: int) -> np.ndarray:
    """How much of each pixel letters of a size cover, (h, w) uint8; h is the same for all texts of a size."""
    font = ImageFont.load_default(size_px)  # comes with Pillow, so that every machine draws alike
    left, top, _, bottom = (round(value) for value in font.getbbox("Ågj|"))
    image = Image.new("L", (round(font.getlength(text)) + 1, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return np.asarray(image)


def colour_of(prob: float, threshold: float) -> tuple[int, int, int]:
    """Red from the threshold on, blue below it."""
    return rgb_of(FAKE_COLOUR if prob >= threshold else REAL_COLOUR)
