"""Show what an augmentation does to the windows that training would draw."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from omegaconf import DictConfig

from deepfake.config import build, to_plain
from deepfake.corpora.load import load_training_protocol
from deepfake.data.augment import Sample
from deepfake.data.dataset import WindowDataset
from deepfake.errors import UserError
from deepfake.io import short_path
from deepfake.records import Window
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
from deepfake.reports.plots import FAKE_COLOUR, REAL_COLOUR, save
from deepfake.tasks.build import face_settings, make_datamodule
from deepfake.training.checkpoint import Recipe

log = logging.getLogger(__name__)

MAX_FRAMES, DIFFERENCE_GAIN = 4, 4
# lengths in pixels of the picture
FRAME, GAP, STRIPE, CAPTION, MARGIN, HEADER, CARD_GAP, WIDTH = 132, 3, 12, 58, 32, 84, 30, 1240


@dataclass(frozen=True, slots=True)
class Card:
    """A window before and after, and whose it is: its video's key and method."""

    before: Sample
    after: Sample
    video: str
    method: str


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Extract what is missing, draw an epoch's first windows and write augment.png."""
    if cfg.num_cards < 1:
        raise UserError(f"num_cards={cfg.num_cards}: must be at least 1")
    data = to_plain(cfg.data)
    recipe = Recipe(
        net={"input": to_plain(cfg.model.net.input)},
        faces=face_settings(cfg).to_dict(),
        eval_windows=data["eval_windows"],
        min_track_share=data["min_track_share"],
    )
    transform = build(cfg.augment)
    datamodule = make_datamodule(
        cfg,
        recipe,
        protocol=lambda: load_training_protocol(data, run_dir),
        transform=transform,
        seed=cfg.seed,
    )
    datamodule.prepare_data()
    datamodule.setup()
    rows = datamodule.manifest
    dataset = WindowDataset(datamodule.stored_crops())

    def card(window: Window) -> Card:
        before, row = dataset.read(window), rows[window.video]
        return Card(before, transform(before, window.seed), row["video"], row["method"])

    cards = [card(window) for window in datamodule.train_plan(cfg.epoch)[: cfg.num_cards]]
    plot_cards(cards, run_dir / "augment.png", title=f"{title_of(to_plain(cfg.augment))} on {data['name']}")
    changed = sum(not np.array_equal(c.before.frames, c.after.frames) for c in cards)
    became_fake = sum(c.after.label != c.before.label for c in cards)
    log.info("%d of %d windows changed, %d became fake", changed, len(cards), became_fake)
    log.info("augment.png in %s", short_path(run_dir))


def title_of(augment: Mapping[str, Any]) -> str:
    """What is shown, by the class that does it."""
    return str(augment["_target_"]).rpartition(".")[2]


def plot_cards(cards: Sequence[Card], path: Path, *, title: str) -> None:
    """Each window as a card: up to four frames before, after, and what changed, enhanced four times.

    The stripe before a row has the colour of its label.
    """
    num_frames = min(MAX_FRAMES, max(len(card.before.frames) for card in cards))
    card_width = STRIPE + num_frames * (FRAME + GAP) - GAP
    card_height = CAPTION + 3 * (FRAME + GAP) - GAP
    across = min(len(cards), max(1, (WIDTH - 2 * MARGIN + CARD_GAP) // (card_width + CARD_GAP)))
    down = -(-len(cards) // across)
    width = max(2 * MARGIN + across * (card_width + CARD_GAP) - CARD_GAP, 720)
    height = HEADER + down * (card_height + CARD_GAP) - CARD_GAP + MARGIN
    figure, axes = pixel_figure(width, height)
    draw_header(axes, title, width)
    pixels = np.full((height, width, 3), 255, np.uint8)
    for place, card in enumerate(cards):
        row, column = divmod(place, across)
        x, y = MARGIN + column * (card_width + CARD_GAP), HEADER + row * (card_height + CARD_GAP)
        draw_card(axes, pixels, card, (x, y), card_width)
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


def draw_card(axes: Axes, pixels: np.ndarray, card: Card, corner: tuple[int, int], width: int) -> None:
    """One window; corner: x, y of the card's upper left in the picture (H, W, 3) uint8."""
    x, y = corner
    write(axes, x, y + 13, shorten(card.video, width // 7), size=8, family="monospace")
    before, after = card.before.frames, card.after.frames
    became = "" if card.after.label == card.before.label else " → pseudo-fake"
    done = card.after.note or ("as it was" if np.array_equal(before, after) else "changed")
    colour = colour_of(card.after.label)
    write(axes, x, y + 31, shorten(card.method + became, width // 6), size=8, colour=colour, weight="bold")
    write(axes, x, y + 48, shorten(done, width // 6), size=8, colour=MUTED)
    rows = (
        (before, colour_of(card.before.label)),
        (after, colour_of(card.after.label)),
        (show_difference(before, after), None),
    )
    for place, (frames, stripe) in enumerate(rows):
        top = y + CAPTION + place * (FRAME + GAP)
        if stripe:
            draw_stripe(axes, x, top, FRAME, stripe, filled=True)
        for column, frame in enumerate(evenly(len(frames), MAX_FRAMES)):
            left = x + STRIPE + column * (FRAME + GAP)
            small = cv2.resize(frames[frame], (FRAME, FRAME), interpolation=cv2.INTER_AREA)
            pixels[top : top + FRAME, left : left + FRAME] = small


def show_difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The mean change of R, G and B, enhanced: pale where there is none, dark where there is much."""
    change = cv2.absdiff(before, after).mean(axis=3, keepdims=True) * DIFFERENCE_GAIN
    return np.clip(PALE - change, 0, PALE).astype(np.uint8).repeat(3, axis=3)
