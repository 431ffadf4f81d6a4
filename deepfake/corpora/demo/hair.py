"""Hair: on the scalp, behind the head, in brows and beards."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import (
    HEIGHT,
    WIDTH,
    Colour,
    Light,
    axes,
    bell,
    blur,
    linear,
    noise,
    normals,
    step,
    to_px,
)
from deepfake.corpora.demo.people import Person
from deepfake.corpora.demo.skin import beard_shade


class Layer(NamedTuple):
    """Linear colour (H, W, 3) and cover alpha (H, W) in 0..1."""

    colour: np.ndarray
    alpha: np.ndarray


class Cut(NamedTuple):
    """A hair style: lengths in units. Hairline at the middle, how it drops to the sides, thickness of the
    hair above and beside the skull, where sideburns and falling hair end, and how much it curls."""

    hairline: float
    drop: float
    above: float
    beside: float
    sideburns: float
    back: float  # half width of the hair behind the head beyond the face; 0 for none
    back_end: float
    curl: float


CUTS = {
    "short": Cut(-0.6, 0.3, 0.13, 0.05, 0.1, 0, 0, 0.0),
    "parted": Cut(-0.58, 0.4, 0.17, 0.07, 0.08, 0, 0, 0.0),
    "long": Cut(-0.62, 0.75, 0.14, 0.13, 0.95, 0.2, 1.55, 0.1),
    "bob": Cut(-0.56, 0.7, 0.15, 0.16, 0.72, 0.2, 0.85, 0.05),
    "curly": Cut(-0.52, 0.35, 0.33, 0.27, 0.25, 0.26, 0.45, 1.0),
    "fringe": Cut(-0.33, 0.1, 0.14, 0.12, 0.75, 0.17, 1.1, 0.0),
    "receding": Cut(-0.8, 0.15, 0.05, 0.035, 0.08, 0, 0, 0.0),
    "bald": Cut(-9.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0.0),
    "tied": Cut(-0.63, 0.5, 0.07, 0.04, 0.0, 0, 0, 0.0),
}


def scalp_hair(person: Person, inside: np.ndarray, light: Light, rng: np.random.Generator) -> Layer:
    """Hair over forehead, skull and temples; inside (H, W): distance to the head's outline in units."""
    x, y = axes()
    cut = CUTS[person.hair_style]
    if cut.above == 0:
        return Layer(np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.float32))
    strands = _strands(person, cut, rng)
    fray = 0.02 * strands + 0.03 * cut.curl * noise(rng, HEIGHT, WIDTH, 8)
    side = step(y + 0.55, 0.3)
    thickness = cut.above * (1 - side) + cut.beside * side
    thickness = thickness * step(cut.sideburns + 0.25 - y, 0.25)
    lean = 0.12 * x if person.hair_style == "parted" else 0.0
    across = np.clip(np.abs(x) / person.half_width, 0, 1.2)
    hairline = cut.hairline + lean + cut.drop * across**3
    falls = person.half_width * (0.93 - 0.1 * step(y + 0.3, 0.4) * (cut.sideburns > 0.5))  # beside the cheeks
    hairline = np.where(across > 0.75, hairline + 6 * np.clip(np.abs(x) - falls + 0.06, 0, 1), hairline)
    hairline = np.minimum(hairline, cut.sideburns)
    softness = 0.035 if person.hair_style in ("short", "receding") else 0.022
    cover = step(hairline - y + 1.6 * fray, softness) * step(inside + thickness + fray, 0.018)
    if person.hair_style == "tied":
        bun = np.hypot(x - 0.05, (y + 1.12) * 1.1) + fray
        cover = np.maximum(cover, step(0.27 - bun, 0.02))
    root = step(hairline - y - 0.05, 0.12)
    return Layer(_lit(person.hair, strands, cut, light, 0.75 + 0.25 * root), np.clip(cover, 0, 1))


def back_hair(person: Person, light: Light, rng: np.random.Generator) -> Layer | None:
    """Hair that hangs behind the head, in its own shade."""
    x, y = axes()
    cut = CUTS[person.hair_style]
    if cut.back == 0:
        return None
    strands = _strands(person, cut, rng)
    sway = 0.03 * np.sin(3 * y + person.texture_seed % 7) + 0.02 * strands
    half = (person.half_width + cut.back) * np.sqrt(np.clip(1 - (np.clip(-y, 0, 2) / 1.2) ** 2, 0, 1))
    half = half * (1 - 0.1 * np.clip(y, 0, 2)) + sway + 0.05 * cut.curl * noise(rng, HEIGHT, WIDTH, 10)
    alpha = (
        step(y + 1.2, 0.03)
        * step(half - np.abs(x), 0.02)
        * step(cut.back_end + 2 * sway - y - 0.15 * x * x, 0.04)
    )
    alpha = alpha * (1 - step(y - 0.7, 0.12) * step(0.46 - np.abs(x), 0.08))  # falls beside the neck
    near = np.clip((np.abs(x) - 0.6 * person.half_width) / 0.4, 0, 1)
    return Layer(_lit(person.hair, strands, cut, light, 0.25 + 0.45 * near), alpha)


def brows(person: Person, rng: np.random.Generator) -> Layer:
    """Both brows as single hairs, combed outwards."""
    p = person
    num_hairs = int(110 * p.brow_density)
    along = np.sort(rng.uniform(-0.85, 1, num_hairs))
    x = p.eye_x + 0.17 * along
    middle = p.brow_y - p.brow_arch * (1 - (along - 0.25) ** 2) + 0.02 * np.clip(along - 0.5, 0, 1)
    thickness = p.brow_thickness * (1 - 0.75 * np.clip(along, 0, 1) ** 1.5)
    y = middle + thickness * rng.uniform(-1, 1, num_hairs)
    lean = np.stack(
        (0.035 + 0.03 * np.clip(along + 0.3, 0, 1), -0.035 + 0.055 * np.clip(along + 0.85, 0, 1.5)), -1
    )
    hairs = np.stack((x, y), -1)[:, None] + np.stack((np.zeros_like(lean), lean), 1)
    hairs += rng.normal(0, 0.004, hairs.shape)
    alpha = _draw_hairs(np.concatenate((hairs, hairs * (-1, 1))), 0.75)
    soft = np.clip(alpha + 0.6 * blur(alpha, 2.5), 0, 1) * (0.6 + 0.3 * p.brow_density)
    dark = np.minimum(linear(p.hair) * 0.8, linear(p.skin) * 0.5)
    return Layer(np.broadcast_to(dark, (HEIGHT, WIDTH, 3)), soft)


def beard(person: Person, light: Light, rng: np.random.Generator) -> Layer | None:
    """Longer facial hair; stubble is a matter of the skin's colour."""
    if person.beard in ("none", "stubble"):
        return None
    grows = beard_shade(person)
    rows, columns = np.nonzero(grows > 0.15)
    if len(rows) == 0:
        return None
    chosen = rng.choice(len(rows), min(1500, len(rows)), p=(density := grows[rows, columns]) / density.sum())
    start = np.stack((columns[chosen], rows[chosen]), -1) + rng.uniform(-0.5, 0.5, (len(chosen), 2))
    lean = np.stack(
        ((start[:, 0] - WIDTH / 2) / 30 + rng.normal(0, 1.2, len(chosen)), rng.uniform(2, 6, len(chosen))), -1
    )
    alpha = _draw_hairs(np.stack((start, start + lean), 1), 0.6, in_px=True)
    alpha = np.clip(0.8 * alpha + 0.5 * grows, 0, 0.95) * step(grows - 0.12, 0.12)
    tone = 0.6 + 0.5 * np.clip(noise(rng, HEIGHT, WIDTH, 1.5), -1, 1.5)
    glow = np.float32(0.5) + np.array(light.key, np.float32) * 0.4
    return Layer(linear(person.hair) * glow * tone[..., None], alpha)


def _strands(person: Person, cut: Cut, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance texture (H, W) that runs away from the crown, or curls."""
    x, y = axes()
    part = 0.28 if person.hair_style == "parted" else 0.02
    dx, dy = x - part, y + 0.98
    angle, radius = np.arctan2(dx, np.abs(dy) + 0.12), np.hypot(dx, dy)
    fine, coarse = noise(rng, 32, 1024, 2.0), noise(rng, 32, 1024, 9)
    wave = 0.05 * np.sin(7 * radius + 4 * coarse[:1, :1]) * (1 + 3 * cut.curl)
    u = ((angle + wave) * (150 + 110 * radius.clip(0, 1.2)) + 512).astype(np.float32)
    v = np.broadcast_to(radius * 9 + 2, u.shape).astype(np.float32)
    straight = cv2.remap(0.75 * fine + 0.65 * coarse, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if cut.curl < 0.5:
        return straight
    field = noise(rng, HEIGHT, WIDTH, 7)
    return 0.3 * straight + 0.9 * np.sin(4 * field + 2 * noise(rng, HEIGHT, WIDTH, 4))


def _lit(hair: Colour, strands: np.ndarray, cut: Cut, light: Light, depth: np.ndarray) -> np.ndarray:
    """Linear colour of hair: round shading, a band of gloss across the strands, dark gaps between them."""
    x, y = axes()
    globe = np.sqrt(np.clip(1.6 - x * x - 0.6 * (y + 0.1) ** 2, 0.02, None)).astype(np.float32)
    facing = normals(blur(globe + 0.012 * (1 + cut.curl) * strands, 1)) @ np.array(
        light.direction, np.float32
    )
    ring = np.hypot(x * 0.8 - 0.45 * light.direction[0], y + 0.35)
    sheen = (1 - 0.6 * cut.curl) * bell(ring - 0.42, 0.1) * np.clip(0.6 + 0.6 * strands, 0, 2)
    tone = np.clip(0.75 + 0.3 * strands, 0.2, 1.6) * depth
    key, ambient = np.array(light.key, np.float32), np.array(light.ambient, np.float32)
    lit = ambient + key * np.clip((facing + 0.25) / 1.25, 0, None)[..., None]
    base = linear(hair)
    return base * lit * tone[..., None] + (0.05 + 0.25 * base) * key * (sheen * depth)[..., None]


def _draw_hairs(hairs: np.ndarray, strength: float, *, in_px: bool = False) -> np.ndarray:
    """Cover (H, W) of straight hairs (N, 2, 2): from, to; x, y."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    points = hairs if in_px else to_px(hairs)
    cv2.polylines(drawn, list(np.round(points * 16).astype(np.int32)), False, 255, 1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(drawn, (0, 0), 0.6).astype(np.float32) * (strength / 160)
