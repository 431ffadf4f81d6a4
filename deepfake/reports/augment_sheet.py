"""Windows before and after an augmentation, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes

from deepfake.reports.contact_sheet import (
    MUTED,
    PALE,
    colour_of,
    draw_stripe,
    evenly,
    pixel_figure,
    shorten,
    write,
)
from deepfake.reports.html import FAKE_COLOUR, REAL_COLOUR
from deepfake.reports.plots import save

MAX_FRAMES, DIFFERENCE_GAIN = 4, 4
# lengths in pixels of the picture
FRAME, GAP, STRIPE, CAPTION, CARD_GAP = 132, 3, 12, 58, 30
MARGIN, HEADER, WIDTH = 32, 84, 1240


@dataclass(frozen=True, slots=True)
class AugmentedWindow:
    """A window before and after an augmentation, and the key and method of its video.

    before, after: frames (T, S, S, 3) uint8. labels: before and after. note: description of what was done.
    """

    before: np.ndarray
    after: np.ndarray
    labels: tuple[int, int]
    note: str
    video: str
    method: str


def plot_augmented(windows: Sequence[AugmentedWindow], path: Path, *, title: str) -> None:
    """Each window as a card with up to four frames: before, after, and the difference, enhanced four times.

    The stripe before a row has the colour of its label.
    """
    num_frames = min(MAX_FRAMES, max(len(window.before) for window in windows))
    card_width = STRIPE + num_frames * (FRAME + GAP) - GAP
    card_height = CAPTION + 3 * (FRAME + GAP) - GAP
    across = min(len(windows), max(1, (WIDTH - 2 * MARGIN + CARD_GAP) // (card_width + CARD_GAP)))
    down = -(-len(windows) // across)
    width = max(2 * MARGIN + across * (card_width + CARD_GAP) - CARD_GAP, 720)
    height = HEADER + down * (card_height + CARD_GAP) - CARD_GAP + MARGIN
    figure, axes = pixel_figure(width, height)
    draw_header(axes, title, width)
    pixels = np.full((height, width, 3), 255, np.uint8)
    for place, window in enumerate(windows):
        row, column = divmod(place, across)
        x, y = MARGIN + column * (card_width + CARD_GAP), HEADER + row * (card_height + CARD_GAP)
        draw_card(axes, pixels, window, (x, y), card_width)
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest", zorder=0)
    save(figure, path)


def draw_header(axes: Axes, title: str, width: int) -> None:
    """The title, how to read a card, and what the colours mean."""
    write(axes, MARGIN, 40, shorten(title, 60), size=13, weight="bold")
    how = f"from top to bottom: before, after, difference × {DIFFERENCE_GAIN}"
    write(axes, MARGIN, 62, how, size=9, colour=MUTED)
    for text, colour, left in (("real", REAL_COLOUR, 125), ("fake", FAKE_COLOUR, 60)):
        draw_stripe(axes, width - MARGIN - left, 28, 16, colour, filled=True)
        write(axes, width - MARGIN - left + 13, 41, text, size=9)


def draw_card(
    axes: Axes, pixels: np.ndarray, window: AugmentedWindow, corner: tuple[int, int], width: int
) -> None:
    """One window; corner: x, y of the card's upper left in the picture (H, W, 3) uint8."""
    x, y = corner
    write(axes, x, y + 13, shorten(window.video, width // 7), size=8, family="monospace")
    before, after = window.before, window.after
    became = "" if window.labels[0] == window.labels[1] else " → pseudo-fake"
    done = window.note or ("unchanged" if np.array_equal(before, after) else "changed")
    colours = [colour_of(label) for label in window.labels]
    write(
        axes, x, y + 31, shorten(window.method + became, width // 6), size=8, colour=colours[1], weight="bold"
    )
    write(axes, x, y + 48, shorten(done, width // 6), size=8, colour=MUTED)
    rows = zip((before, after, show_difference(before, after)), (*colours, None), strict=True)
    for place, (frames, stripe) in enumerate(rows):
        top = y + CAPTION + place * (FRAME + GAP)
        if stripe:
            draw_stripe(axes, x, top, FRAME, stripe, filled=True)
        for column, frame in enumerate(evenly(len(frames), MAX_FRAMES)):
            left = x + STRIPE + column * (FRAME + GAP)
            small = cv2.resize(frames[frame], (FRAME, FRAME), interpolation=cv2.INTER_AREA)
            pixels[top : top + FRAME, left : left + FRAME] = small


def show_difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The mean change of R, G and B, enhanced: pale where there is none, dark where it is large."""
    change = cv2.absdiff(before, after).mean(axis=3, keepdims=True) * DIFFERENCE_GAIN
    return np.clip(PALE - change, 0, PALE).astype(np.uint8).repeat(3, axis=3)
