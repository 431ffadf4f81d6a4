"""Everything around the head: a room out of focus, shoulders and clothes."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import Colour, bell, display, linear, noise, step
from deepfake.corpora.demo.light import Light
from deepfake.corpora.demo.people import Person

CLOTHES: tuple[Colour, ...] = (
    *((38, 44, 60), (62, 60, 64), (110, 40, 44), (52, 84, 92), (160, 150, 132)),
    *((196, 198, 204), (84, 104, 70), (128, 100, 140), (186, 128, 66), (70, 96, 150)),
)
TORSO_UNITS, CHIN_UNITS = 3.2, 0.67  # height of the torso's picture, and where the chin lies in it
WALLS: tuple[Colour, ...] = (
    *((176, 170, 158), (120, 134, 146), (148, 158, 140), (190, 178, 166)),
    *((92, 100, 112), (164, 140, 128), (130, 122, 142), (70, 78, 84)),
)


def background(rng: np.random.Generator, height: int, width: int, light: Light) -> np.ndarray:
    """A wall with things in front of it, out of focus, (height, width, 3) float32 sRGB."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    wall = linear(WALLS[rng.integers(len(WALLS))]) * rng.uniform(0.55, 1.0)
    fall = 1 - rng.uniform(0.1, 0.5) * np.hypot(x - 0.5 - 0.5 * light.direction[0], y - 0.2)
    picture = np.broadcast_to(wall, (height, width, 3)) * fall[..., None]
    picture = (picture * (1 + 0.04 * noise(rng, height, width, 40)[..., None])).astype(np.float32)
    for _ in range(rng.integers(3, 9)):
        grey, tint = rng.uniform(40, 200), rng.uniform(-28, 28, 3)
        colour = linear(np.clip(grey + tint, 10, 230)) * rng.uniform(0.4, 1.0)
        left, top = rng.uniform(-0.2, 1.1, 2) * (width, height)
        wide, high = rng.uniform(0.08, 0.45), rng.uniform(0.1, 0.7)
        corner = (int(left + wide * width), int(top + high * height))
        cv2.rectangle(picture, (int(left), int(top)), corner, colour.tolist(), -1)
    lamps = rng.integers(0, 5)
    for _ in range(lamps):
        place = (int(rng.uniform(0, width)), int(rng.uniform(0, 0.7 * height)))
        glow = (rng.uniform(0.6, 1.3) * np.array((1, 0.85, 0.62))).tolist()
        cv2.circle(picture, place, int(rng.uniform(4, 15)), glow, -1, cv2.LINE_AA)
    focus = rng.uniform(5, 13)
    picture = cv2.GaussianBlur(cv2.GaussianBlur(picture, (0, 0), focus), (0, 0), focus / 3)
    brightness = np.array(light.ambient, np.float32) * 1.6 + np.array(light.key, np.float32) * 0.5
    return display(picture * brightness).astype(np.float32)


def body(rng: np.random.Generator, person: Person, light: Light, unit_px: float) -> np.ndarray:
    """Neck, shoulders and clothes, (H, W, 4) uint8 premultiplied; the chin is at (W / 2, CHIN_UNITS).

    unit_px: pixels a unit of the head.
    """
    half, down = round(2.6 * unit_px), round(TORSO_UNITS * unit_px)
    y, x = np.mgrid[0:down, -half:half].astype(np.float32) / unit_px
    y -= CHIN_UNITS
    neck_half = 0.62 * person.half_width + 0.1 * np.clip(y, 0, 1)
    key, ambient = np.array(light.key, np.float32), np.array(light.ambient, np.float32)

    side = np.clip(x / np.maximum(neck_half, 0.1), -1, 1)
    facing = np.clip(0.75 * np.sqrt(1 - 0.9 * side**2) + 0.6 * side * light.direction[0], 0, None)
    under_chin = 0.35 + 0.65 * step(y - 0.2, 0.25)
    skin = linear(person.skin) * (ambient + key * (facing * under_chin)[..., None])
    neck = step(neck_half - np.abs(x), 0.02) * step(y + 0.5, 0.05)

    width = rng.uniform(1.75, 2.1)
    slope = 0.26 + rng.uniform(0.28, 0.5) * np.clip(np.abs(x) / width, 0, 1.2) ** 2.2
    shoulders = step(y - slope, 0.02) * step(width + 0.12 * y - np.abs(x), 0.06)
    opening = 0.3 + rng.uniform(0.1, 0.5) * np.clip(1 - np.abs(x) / rng.uniform(0.3, 0.5), 0, 1)
    cloth_alpha = shoulders * step(y - opening, 0.02)
    cloth = linear(CLOTHES[rng.integers(len(CLOTHES))])
    folds = 0.07 * noise(rng, down, 2 * half, 0.35 * unit_px) + 0.04 * noise(rng, down, 2 * half, 1.5)
    if rng.random() < 0.3:
        stripes = 0.5 + 0.5 * np.sign(np.sin(rng.uniform(18, 40) * (x if rng.random() < 0.5 else y)))
        folds = folds - rng.uniform(0.1, 0.35) * stripes
    lit = np.clip(0.7 + 0.35 * x * light.direction[0] / width - 0.12 * y + folds, 0.1, None)
    fabric = cloth * (ambient + 0.8 * key * lit[..., None])
    collar = bell(y - opening - 0.02, 0.03) * cloth_alpha
    fabric = fabric * (1 - 0.35 * collar[..., None])

    colour = skin + (fabric - skin) * cloth_alpha[..., None]
    alpha = np.maximum(neck * step(1.2 - y, 0.1), np.maximum(cloth_alpha, shoulders * neck))
    shown = display(colour) * alpha[..., None]
    return np.dstack((shown, 255 * alpha)).round().clip(0, 255).astype(np.uint8)
