"""A person, and a head without eyes: its relief, the colours painted on the skin, and the hair."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import (
    HEIGHT,
    UNIT_PX,
    WIDTH,
    Light,
    X,
    Y,
    bell,
    blur,
    linear,
    mix,
    noise,
    normals,
    pair,
    spot,
    step,
    to_px,
)

SKINS = ((238, 205, 186), (228, 186, 160), (212, 163, 130), (186, 132, 98), (146, 98, 70), (104, 68, 50))
HAIRS = (
    *((30, 26, 26), (58, 40, 32), (96, 66, 44), (138, 102, 68)),  # black to light brown
    *((198, 164, 112), (142, 72, 40), (150, 147, 144)),  # blond, red, grey
)
IRISES = ((70, 44, 28), (96, 62, 36), (92, 96, 58), (74, 104, 130), (104, 122, 132), (52, 36, 28))
HAIR_STYLES = ("short", "parted", "long", "bob", "curly", "fringe", "receding", "bald", "tied")
BEARDS = ("none", "none", "none", "stubble", "stubble", "moustache", "goatee")


class Person:
    """Shape and colours of a face, drawn at random: units of the board, sRGB 0..255, amounts in 0..1."""

    def __init__(self, rng: np.random.Generator, *, tone: float) -> None:
        """tone: in [0, 1), from light to dark skin."""
        between = rng.uniform
        masculine = rng.random() < 0.5
        self.age = between(0, 1) ** 1.5
        place = tone * (len(SKINS) - 1)
        shades = np.array([np.interp(place, range(len(SKINS)), shade) for shade in zip(*SKINS, strict=True)])
        self.skin = shades * rng.normal(1, 0.025, 3)
        grey = 0.2 + 3 * (self.age > 0.55)
        odds = np.array((2, 3, 3, 2, 2, 1, grey) if tone < 0.5 else (5, 3, 0.5, 0, 0, 0, 1))
        hair = np.array(HAIRS[rng.choice(len(HAIRS), p=odds / odds.sum())])
        self.hair = hair * np.clip(rng.normal(1, 0.1), 0.75, 1.15)
        styles = (4, 3, 0.4, 0.2, 1.5, 1, 1.5, 1.2, 0.3) if masculine else (0.7, 1.5, 4, 3, 2, 2, 0, 0.1, 2)
        self.hair_style = HAIR_STYLES[rng.choice(len(HAIR_STYLES), p=np.array(styles) / sum(styles))]
        self.half_width = between(0.69, 0.77)
        self.jaw = between(1.45, 2.0) + 0.25 * masculine
        self.chin = between(2.0, 2.7)
        self.eye_x = between(0.285, 0.325)
        self.eye_y = between(-0.05, 0.02)
        self.eye_half_width = between(0.128, 0.155)
        self.eye_open = between(0.05, 0.072)
        self.eye_tilt = between(-0.02, 0.16)
        self.iris = IRISES[rng.integers(len(IRISES))] if tone < 0.5 else IRISES[rng.choice((0, 1, 5))]
        self.brow_y = between(-0.235, -0.185)
        self.brow_thickness = between(0.022, 0.034) + 0.012 * masculine
        self.brow_arch = between(0.02, 0.07) - 0.02 * masculine
        self.brow_density = between(0.6, 1.0)
        self.nose_y = between(0.36, 0.43)
        self.nose_half_width = between(0.105, 0.135) + 0.03 * (tone > 0.6)
        self.nose_height = between(0.8, 1.25)
        self.mouth_y = between(0.6, 0.655)
        self.mouth_half_width = between(0.2, 0.25)
        self.mouth_curve = between(-0.012, 0.03)
        self.upper_lip = between(0.035, 0.06) + 0.012 * (not masculine)
        self.lower_lip = between(0.055, 0.085) + 0.01 * (not masculine)
        self.lip_redness = between(0.25, 0.5) + between(0, 0.4) * (not masculine)
        self.cheeks = between(0.2, 1.0)
        self.ears = between(0.8, 1.15)
        self.freckles = between(0, 1) if tone < 0.4 and rng.random() < 0.4 else 0.0
        self.beard = BEARDS[rng.integers(len(BEARDS))] if masculine else "none"
        self.glasses = ("none", "none", "none", "none", "round", "square", "rimless")[rng.integers(7)]
        self.texture_seed = int(rng.integers(2**31))

    @property
    def anchors(self) -> np.ndarray:
        """Left eye, right eye and mouth (3, 2), in units, by which one face is aligned with another."""
        eyes = ((-self.eye_x, self.eye_y), (self.eye_x, self.eye_y))
        return np.array((*eyes, (0, self.mouth_y)), np.float32)


def outline(person: Person, y: np.ndarray) -> np.ndarray:
    """Half width of the head at the height y, in units; 0 above the skull and below the chin."""
    widest = 0.02
    above = np.clip((widest - y) / (widest + 1.05), 0, 1)
    below = np.clip((y - widest) / (1 - widest), 0, 1)
    upper = (1 - above**2.3) ** (1 / 2.1)
    lower = (1 - below**person.chin) ** (1 / person.jaw)
    return person.half_width * np.where(y < widest, upper, lower)


def relief(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Height field of the head (H, W) in units, and the distance (H, W) to its outline, positive inside."""
    p = person
    mask = (np.abs(X) < outline(p, Y)).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    inside = blur(inside, 1.5) / UNIT_PX
    rim = np.clip(inside / 0.3, 0, 1)
    skull = np.sqrt(np.clip(1 - (X / (1.15 * p.half_width)) ** 2 - ((Y + 0.02) / 1.22) ** 2, 0, 1))
    height = 0.62 * skull + 0.2 * np.sqrt(rim * (2 - rim))

    height += 0.035 * bell(Y - p.brow_y, 0.06) * bell(X, 0.4)  # brow ridge
    height -= 0.085 * pair(p.eye_x - 0.03, p.eye_y - 0.01, 0.13, 0.075)  # sockets
    height += 0.05 * pair(p.eye_x, p.eye_y, 0.085, 0.06)  # eyeballs under the lids
    height += 0.045 * pair(0.4, 0.22, 0.16, 0.13)  # cheek bones
    height -= 0.02 * pair(0.45, 0.55, 0.12, 0.12) * (1 + p.age)
    height += 0.05 * spot(0, 0.9, 0.12, 0.08)  # chin
    height += 0.05 * spot(0, p.mouth_y, 0.24, 0.13)  # the teeth behind the lips

    down = np.clip((Y + 0.1) / (p.nose_y + 0.1), 0, 1)  # along the nose's bridge
    fall = step(p.nose_y + 0.035 - Y, 0.035)
    bridge = (0.04 + 0.12 * down**1.4) * bell(X, 0.045 + 0.03 * down) * step(Y + 0.16, 0.1) * fall
    tip = 0.09 * spot(0, p.nose_y - 0.04, 0.055, 0.05)
    wings = 0.05 * pair(p.nose_half_width - 0.035, p.nose_y - 0.01, 0.034, 0.035)
    height += p.nose_height * (bridge + tip + wings)

    lips = lip_masks(p)
    height += 0.035 * blur(lips[0], 2.5) + 0.05 * blur(lips[1], 3)
    height -= 0.03 * spot(0, p.mouth_y + p.lower_lip + 0.045, 0.13, 0.025)
    height -= 0.012 * spot(0, (p.nose_y + p.mouth_y) / 2 + 0.01, 0.022, 0.045)  # philtrum
    fold_x = p.nose_half_width + 0.05 + 0.12 * np.clip((Y - p.nose_y) / 0.25, -0.2, 1.2)
    fold = bell(np.abs(X) - fold_x, 0.018) * bell(Y - p.nose_y - 0.1, 0.09)
    height -= (0.004 + 0.014 * p.age) * fold
    wrinkles = bell(np.sin(24 * (Y + 0.02 * X * X)) - 1, 0.35) * spot(0, -0.42, 0.3, 0.09)
    height -= 0.008 * max(p.age - 0.4, 0) * wrinkles
    return blur(height.astype(np.float32), 1.2), inside


def lip_masks(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lip of the closed mouth, each (H, W) in 0..1."""
    p = person
    across = np.clip(np.abs(X) / p.mouth_half_width, 0, 1)
    line = mouth_line(p, X)
    bow = 1 - 0.28 * bell(X, 0.035)
    top = line - p.upper_lip * bow * (1 - across**1.7)
    bottom = line + p.lower_lip * (1 - across**2.2) ** 0.8
    near = step(1.02 * p.mouth_half_width - np.abs(X), 0.02)
    upper, lower = step(Y - top, 0.014) * step(line - Y, 0.01), step(bottom - Y, 0.016) * step(Y - line, 0.01)
    return near * upper, near * lower


def mouth_line(person: Person, x: np.ndarray) -> np.ndarray:
    """Height y of the line between the closed lips."""
    across = np.clip(np.abs(x) / person.mouth_half_width, 0, 1.3)
    return person.mouth_y - person.mouth_curve * across**2 + 0.012 * (1 - np.clip(across, 0, 1) ** 2)


def paint(person: Person, rng: np.random.Generator) -> np.ndarray:
    """Colours of the skin (H, W, 3), linear 0..1: flush, lips, brows' shade, freckles, stubble and pores."""
    p = person
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
    pale = linear(p.skin) * (1 - p.lip_redness) * np.array((0.85, 0.62, 0.62), np.float32)
    lip = pale + rosy * p.lip_redness
    lines = 1 + 0.09 * noise(rng, 1, WIDTH, 2.5)
    colour = mix(colour, lip * 0.86, 0.85 * upper)
    colour = mix(colour, lip, 0.85 * lower)
    colour *= 1 - (1 - lines)[..., None] * np.maximum(upper, lower)[..., None]
    line = bell(Y - mouth_line(p, X), 0.011) * step(1.03 * p.mouth_half_width - np.abs(X), 0.02)
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
    p = person
    upper, lower = lip_masks(p)
    lips = np.clip(blur(np.maximum(upper, lower), 2) * 1.6, 0, 1)
    edge = 0.42 + 0.25 * step(0.55 - np.abs(X), 0.2) - 0.02 * np.cos(9 * X)  # low on the cheeks
    jaw = step(Y - edge, 0.09)
    moustache = step(Y - p.nose_y - 0.06, 0.03) * bell(X, 0.17) * step(p.mouth_y + 0.02 - Y, 0.05)
    chin = step(Y - p.mouth_y - p.lower_lip - 0.02, 0.04) * bell(X, 0.16)
    around = bell(np.abs(X) - p.mouth_half_width - 0.03, 0.035) * bell(Y - p.mouth_y - 0.06, 0.1)
    goatee = np.clip(moustache + chin + around, 0, 1)
    grown = {"moustache": moustache, "goatee": goatee}.get(p.beard, np.clip(np.maximum(jaw, goatee), 0, 1))
    on_face = step(outline(p, Y) - np.abs(X) + 0.02, 0.03) * step(1.01 - Y, 0.03)
    return np.clip(grown, 0, 1) * (1 - lips) * on_face


class Layer(NamedTuple):
    """Linear colour (H, W, 3) and cover alpha (H, W) in 0..1."""

    colour: np.ndarray
    alpha: np.ndarray


class Cut(NamedTuple):
    """A hair style, lengths in units."""

    hairline: float  # at the middle
    drop: float  # of the hairline to the sides
    above: float  # thickness of the hair above the skull
    beside: float  # … and beside it
    sideburns: float  # where they end
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
    cut = CUTS[person.hair_style]
    if cut.above == 0:
        return Layer(np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.float32))
    strands = _strands(person, cut, rng)
    fray = 0.02 * strands + 0.03 * cut.curl * noise(rng, HEIGHT, WIDTH, 8)
    side = step(Y + 0.55, 0.3)
    thickness = (cut.above * (1 - side) + cut.beside * side) * step(cut.sideburns + 0.25 - Y, 0.25)
    lean = 0.12 * X if person.hair_style == "parted" else 0.0
    across = np.clip(np.abs(X) / person.half_width, 0, 1.2)
    hairline = cut.hairline + lean + cut.drop * across**3
    falls = person.half_width * (0.93 - 0.1 * step(Y + 0.3, 0.4) * (cut.sideburns > 0.5))  # beside the cheeks
    hairline = np.where(across > 0.75, hairline + 6 * np.clip(np.abs(X) - falls + 0.06, 0, 1), hairline)
    hairline = np.minimum(hairline, cut.sideburns)
    softness = 0.035 if person.hair_style in ("short", "receding") else 0.022
    cover = step(hairline - Y + 1.6 * fray, softness) * step(inside + thickness + fray, 0.018)
    if person.hair_style == "tied":
        bun = np.hypot(X - 0.05, (Y + 1.12) * 1.1) + fray
        cover = np.maximum(cover, step(0.27 - bun, 0.02))
    root = step(hairline - Y - 0.05, 0.12)
    return Layer(_lit(person.hair, strands, cut, light, 0.75 + 0.25 * root), np.clip(cover, 0, 1))


def back_hair(person: Person, light: Light, rng: np.random.Generator) -> Layer | None:
    """Hair that hangs behind the head, in its own shade."""
    cut = CUTS[person.hair_style]
    if cut.back == 0:
        return None
    strands = _strands(person, cut, rng)
    sway = 0.03 * np.sin(3 * Y + person.texture_seed % 7) + 0.02 * strands
    half = (person.half_width + cut.back) * np.sqrt(np.clip(1 - (np.clip(-Y, 0, 2) / 1.2) ** 2, 0, 1))
    half = half * (1 - 0.1 * np.clip(Y, 0, 2)) + sway + 0.05 * cut.curl * noise(rng, HEIGHT, WIDTH, 10)
    alpha = step(Y + 1.2, 0.03) * step(half - np.abs(X), 0.02)
    alpha = alpha * step(cut.back_end + 2 * sway - Y - 0.15 * X * X, 0.04)
    alpha = alpha * (1 - step(Y - 0.7, 0.12) * step(0.46 - np.abs(X), 0.08))  # falls beside the neck
    near = np.clip((np.abs(X) - 0.6 * person.half_width) / 0.4, 0, 1)
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
    out, up = 0.03 * np.clip(along + 0.3, 0, 1), 0.055 * np.clip(along + 0.85, 0, 1.5)
    lean = np.stack((0.035 + out, -0.035 + up), -1)
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
    chosen = rng.choice(len(rows), min(1500, len(rows)), p=(density := grows[rows, columns]) / density.sum())
    start = np.stack((columns[chosen], rows[chosen]), -1) + rng.uniform(-0.5, 0.5, (len(chosen), 2))
    out = (start[:, 0] - WIDTH / 2) / 30 + rng.normal(0, 1.2, len(chosen))
    lean = np.stack((out, rng.uniform(2, 6, len(chosen))), -1)
    alpha = _draw_hairs(np.stack((start, start + lean), 1), 0.6, in_px=True)
    alpha = np.clip(0.8 * alpha + 0.5 * grows, 0, 0.95) * step(grows - 0.12, 0.12)
    tone = 0.6 + 0.5 * np.clip(noise(rng, HEIGHT, WIDTH, 1.5), -1, 1.5)
    glow = np.float32(0.5) + light.key * 0.4
    return Layer(linear(person.hair) * glow * tone[..., None], alpha)


def _strands(person: Person, cut: Cut, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance texture (H, W) that runs away from the crown, or curls."""
    part = 0.28 if person.hair_style == "parted" else 0.02
    dx, dy = X - part, Y + 0.98
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


def _lit(hair: np.ndarray, strands: np.ndarray, cut: Cut, light: Light, depth: np.ndarray) -> np.ndarray:
    """Linear colour of hair: round shading, a band of gloss across the strands, dark gaps between them."""
    globe = np.sqrt(np.clip(1.6 - X * X - 0.6 * (Y + 0.1) ** 2, 0.02, None)).astype(np.float32)
    bumps = blur(globe + 0.012 * (1 + cut.curl) * strands, 1)
    facing = normals(bumps) @ np.array(light.direction, np.float32)
    ring = np.hypot(X * 0.8 - 0.45 * light.direction[0], Y + 0.35)
    sheen = (1 - 0.6 * cut.curl) * bell(ring - 0.42, 0.1) * np.clip(0.6 + 0.6 * strands, 0, 2)
    tone = np.clip(0.75 + 0.3 * strands, 0.2, 1.6) * depth
    lit = light.ambient + light.key * np.clip((facing + 0.25) / 1.25, 0, None)[..., None]
    base = linear(hair)
    return base * lit * tone[..., None] + (0.05 + 0.25 * base) * light.key * (sheen * depth)[..., None]


def _draw_hairs(hairs: np.ndarray, strength: float, *, in_px: bool = False) -> np.ndarray:
    """Cover (H, W) of straight hairs (N, 2, 2): from, to; x, y."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    points = hairs if in_px else to_px(hairs)
    cv2.polylines(drawn, list(np.round(points * 16).astype(np.int32)), False, 255, 1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(drawn, (0, 0), 0.6).astype(np.float32) * (strength / 160)
