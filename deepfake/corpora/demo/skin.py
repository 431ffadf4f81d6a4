"""The face without hair: its relief and the colours painted on it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import (
    HEIGHT,
    UNIT_PX,
    WIDTH,
    axes,
    bell,
    blur,
    linear,
    mix,
    noise,
    pair,
    spot,
    step,
    to_px,
)
from deepfake.corpora.demo.people import Person


class Relief(NamedTuple):
    """Height (H, W) in units, and the distance (H, W) to the outline in units, positive inside."""

    height: np.ndarray
    inside: np.ndarray


def outline(person: Person, y: np.ndarray) -> np.ndarray:
    """Half width of the head at the height y, in units; 0 above the skull and below the chin."""
    widest = 0.02
    above = np.clip((widest - y) / (widest + 1.05), 0, 1)
    below = np.clip((y - widest) / (1 - widest), 0, 1)
    upper = (1 - above**2.3) ** (1 / 2.1)
    lower = (1 - below**person.chin) ** (1 / person.jaw)
    return person.half_width * np.where(y < widest, upper, lower)


def relief(person: Person) -> Relief:
    """The head as a height field: a skull, and everything that stands out from it or lies in it."""
    x, y = axes()
    p = person
    mask = (np.abs(x) < outline(p, y)).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    inside = blur(inside, 1.5) / UNIT_PX
    rim = np.clip(inside / 0.3, 0, 1)
    skull = np.sqrt(np.clip(1 - (x / (1.15 * p.half_width)) ** 2 - ((y + 0.02) / 1.22) ** 2, 0, 1))
    height = 0.62 * skull + 0.2 * np.sqrt(rim * (2 - rim))

    height += 0.035 * bell(y - p.brow_y, 0.06) * bell(x, 0.4)  # brow ridge
    height -= 0.085 * pair(p.eye_x - 0.03, p.eye_y - 0.01, 0.13, 0.075)  # sockets
    height += 0.05 * pair(p.eye_x, p.eye_y, 0.085, 0.06)  # eyeballs under the lids
    height += 0.045 * pair(0.4, 0.22, 0.16, 0.13)  # cheek bones
    height -= 0.02 * pair(0.45, 0.55, 0.12, 0.12) * (1 + p.age)
    height += 0.05 * spot(0, 0.9, 0.12, 0.08)  # chin
    height += 0.05 * spot(0, p.mouth_y, 0.24, 0.13)  # the teeth behind the lips

    down = np.clip((y + 0.1) / (p.nose_y + 0.1), 0, 1)  # along the nose's bridge
    fall = step(p.nose_y + 0.035 - y, 0.035)
    bridge = (0.04 + 0.12 * down**1.4) * bell(x, 0.045 + 0.03 * down) * step(y + 0.16, 0.1) * fall
    tip = 0.09 * spot(0, p.nose_y - 0.04, 0.055, 0.05)
    wings = 0.05 * pair(p.nose_half_width - 0.035, p.nose_y - 0.01, 0.034, 0.035)
    height += p.nose_height * (bridge + tip + wings)

    lips = lip_masks(p)
    height += 0.035 * blur(lips[0], 2.5) + 0.05 * blur(lips[1], 3)
    height -= 0.03 * spot(0, p.mouth_y + p.lower_lip + 0.045, 0.13, 0.025)
    height -= 0.012 * spot(0, (p.nose_y + p.mouth_y) / 2 + 0.01, 0.022, 0.045)  # philtrum
    fold_x = p.nose_half_width + 0.05 + 0.12 * np.clip((y - p.nose_y) / 0.25, -0.2, 1.2)
    fold = bell(np.abs(x) - fold_x, 0.018) * bell(y - p.nose_y - 0.1, 0.09)
    height -= (0.004 + 0.014 * p.age) * fold
    wrinkles = bell(np.sin(24 * (y + 0.02 * x * x)) - 1, 0.35) * spot(0, -0.42, 0.3, 0.09)
    height -= 0.008 * max(p.age - 0.4, 0) * wrinkles
    return Relief(blur(height.astype(np.float32), 1.2), inside)


def lip_masks(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lip of the closed mouth, each (H, W) in 0..1."""
    x, y = axes()
    p = person
    across = np.clip(np.abs(x) / p.mouth_half_width, 0, 1)
    line = mouth_line(p, x)
    bow = 1 - 0.28 * bell(x, 0.035)
    top = line - p.upper_lip * bow * (1 - across**1.7)
    bottom = line + p.lower_lip * (1 - across**2.2) ** 0.8
    near = step(1.02 * p.mouth_half_width - np.abs(x), 0.02)
    upper, lower = step(y - top, 0.014) * step(line - y, 0.01), step(bottom - y, 0.016) * step(y - line, 0.01)
    return near * upper, near * lower


def mouth_line(person: Person, x: np.ndarray) -> np.ndarray:
    """Height y of the line between the closed lips."""
    across = np.clip(np.abs(x) / person.mouth_half_width, 0, 1.3)
    return person.mouth_y - person.mouth_curve * across**2 + 0.012 * (1 - np.clip(across, 0, 1) ** 2)


def paint(person: Person, rng: np.random.Generator) -> np.ndarray:
    """Colours of the skin (H, W, 3), linear 0..1: flush, lips, brows' shade, freckles, stubble and pores."""
    p = person
    x, y = axes()
    skin = np.broadcast_to(linear(p.skin), (HEIGHT, WIDTH, 3)).astype(np.float32)
    flush = linear(p.skin) * np.array((1.12, 0.72, 0.68), np.float32)
    red = 0.5 * pair(0.42, 0.26, 0.15, 0.13) + 0.4 * spot(0, p.nose_y - 0.03, 0.08, 0.06)
    red += 0.25 * spot(0, 0.92, 0.12, 0.07) + 0.12 * np.clip(noise(rng, HEIGHT, WIDTH, 30), -1, 2)
    colour = mix(skin, flush, np.clip(p.cheeks * red, 0, 1))
    tired = 0.2 * pair(p.eye_x, p.eye_y + 0.09, 0.11, 0.03) * (0.4 + p.age)
    tired += 0.28 * pair(p.eye_x, p.eye_y - 0.03, 0.14, 0.06)
    colour = mix(colour, linear(p.skin) * np.array((0.62, 0.5, 0.5), np.float32), np.clip(tired, 0, 1))
    colour = _speckle(colour, p, rng)
    colour *= 1 + 0.05 * noise(rng, HEIGHT, WIDTH, 9)[..., None] * np.array((0.6, 1, 1), np.float32)
    colour *= 1 + 0.055 * noise(rng, HEIGHT, WIDTH, 1.6)[..., None]
    shade = beard_shade(p) * {"stubble": 0.45, "goatee": 0.3, "moustache": 0.25}.get(p.beard, 0)
    grain = np.clip(0.8 + 0.4 * noise(rng, HEIGHT, WIDTH, 1.0), 0, 1.4)
    colour = mix(colour, linear(p.hair) * 0.7 + 0.02, np.clip(shade * grain, 0, 0.85))

    upper, lower = lip_masks(p)
    rosy = linear(p.skin) * np.array((0.78, 0.36, 0.4), np.float32) + np.array((0.05, 0.0, 0.008), np.float32)
    lip = (
        linear(p.skin) * (1 - p.lip_redness) * np.array((0.85, 0.62, 0.62), np.float32) + rosy * p.lip_redness
    )
    lines = 1 + 0.09 * noise(rng, 1, WIDTH, 2.5)
    colour = mix(colour, lip * 0.86, 0.85 * upper)
    colour = mix(colour, lip, 0.85 * lower)
    colour *= 1 - (1 - lines)[..., None] * np.maximum(upper, lower)[..., None]
    line = bell(y - mouth_line(p, x), 0.011) * step(1.03 * p.mouth_half_width - np.abs(x), 0.02)
    colour *= 1 - 0.72 * line[..., None]
    holes = pair(p.nose_half_width * 0.5, p.nose_y + 0.022, 0.026, 0.014)
    colour *= 1 - 0.75 * np.clip(1.3 * holes, 0, 1)[..., None]
    return np.clip(colour, 0.002, 1)


def gloss(person: Person, rng: np.random.Generator) -> np.ndarray:
    """Where skin shines, (H, W): forehead, nose, cheek bones and lips, broken up by pores."""
    upper, lower = lip_masks(person)
    oil = 0.5 * spot(0, -0.45, 0.35, 0.15) + 0.8 * spot(0, person.nose_y - 0.06, 0.06, 0.1)
    oil += 0.5 * pair(0.4, 0.17, 0.13, 0.08) + 0.9 * lower + 0.4 * upper
    return (0.03 + 0.13 * oil) * np.clip(1 + 0.3 * noise(rng, HEIGHT, WIDTH, 1.8), 0, 2)


def _speckle(colour: np.ndarray, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Freckles over nose and cheeks, and a mole or two anywhere."""
    dots = np.zeros((HEIGHT, WIDTH), np.uint8)  # antialiasing wants 8 bits
    num_freckles = int(140 * person.freckles)
    places = rng.normal((0, 0.2), (0.33, 0.12), (num_freckles, 2))
    for (x, y), size in zip(to_px(places), rng.uniform(0.5, 1.3, num_freckles), strict=True):
        cv2.circle(dots, (int(16 * x), int(16 * y)), int(16 * size), 115, -1, cv2.LINE_AA, 4)
    for x, y in to_px(rng.uniform((-0.6, -0.5), (0.6, 0.9), (int(rng.integers(0, 4)), 2))):
        cv2.circle(dots, (int(16 * x), int(16 * y)), int(16 * rng.uniform(0.8, 1.6)), 200, -1, cv2.LINE_AA, 4)
    brown = linear(person.skin) * np.array((0.55, 0.4, 0.34), np.float32)
    return mix(colour, brown, blur(dots, 0.7).astype(np.float32) / 255)


def beard_shade(person: Person) -> np.ndarray:
    """Where a beard grows, (H, W) in 0..1."""
    x, y = axes()
    p = person
    upper, lower = lip_masks(p)
    lips = np.clip(blur(np.maximum(upper, lower), 2) * 1.6, 0, 1)
    edge = (
        0.42 + 0.25 * step(0.55 - np.abs(x), 0.2) - 0.02 * np.cos(9 * x)
    )  # high at the jaw, low on the cheeks
    jaw = step(y - edge, 0.09)
    moustache = step(y - p.nose_y - 0.06, 0.03) * bell(x, 0.17) * step(p.mouth_y + 0.02 - y, 0.05)
    chin = step(y - p.mouth_y - p.lower_lip - 0.02, 0.04) * bell(x, 0.16)
    around = bell(np.abs(x) - p.mouth_half_width - 0.03, 0.035) * bell(y - p.mouth_y - 0.06, 0.1)
    goatee = np.clip(moustache + chin + around, 0, 1)
    grown = {"moustache": moustache, "goatee": goatee}.get(p.beard, np.clip(np.maximum(jaw, goatee), 0, 1))
    on_face = step(outline(p, y) - np.abs(x) + 0.02, 0.03) * step(1.01 - y, 0.03)
    return np.clip(grown, 0, 1) * (1 - lips) * on_face
