"""A head under a light, drawn once, and its face for every expression."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deepfake.corpora.demo import hair, skin
from deepfake.corpora.demo.canvas import (
    HEIGHT,
    WIDTH,
    axes,
    bell,
    blur,
    display,
    linear,
    mix,
    noise,
    step,
)
from deepfake.corpora.demo.light import Light, shade
from deepfake.corpora.demo.people import Person

SKIN_GLOW = (0.42, 0.2, 0.14)  # red light travels furthest through skin


class Head(NamedTuple):
    """What stays the same over a video.

    still: (H, W, 4) uint8 premultiplied, eyes closed and mouth shut. depth: (H, W) float32 towards the
    camera, in units. glasses: (H, W, 4) uint8 premultiplied, or None.
    """

    person: Person
    light: Light
    still: np.ndarray
    depth: np.ndarray
    glasses: np.ndarray | None


def build_head(person: Person, light: Light) -> Head:
    """Draw everything that does not move on its own: skin, ears, hair, beard, brows."""
    rng = np.random.default_rng(person.texture_seed)
    form = skin.relief(person)
    paint = skin.paint(person, rng)
    pores = 0.0011 * noise(rng, HEIGHT, WIDTH, 1.6) + 0.0022 * noise(rng, HEIGHT, WIDTH, 4)
    lit = shade(paint, form.height + pores, light, through=SKIN_GLOW, gloss=skin.gloss(person, rng))
    face = blur(step(form.inside, 0.012), 0.6)

    colour = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    cover = np.zeros((HEIGHT, WIDTH), np.float32)
    layers = [hair.back_hair(person, light, rng), _ears(person, light, form.inside)]
    scalp = hair.scalp_hair(person, form.inside, light, rng)
    under = 1 - 0.45 * np.clip(blur(scalp.alpha, 5) - 0.15, 0, 1)  # hair keeps light from the skin beside it
    layers += [hair.Layer(lit * under[..., None], face), hair.beard(person, light, rng)]
    layers += [hair.brows(person, rng), scalp]
    for layer in layers:
        if layer is not None:
            colour = mix(colour, layer.colour, layer.alpha)
            cover = cover + (1 - cover) * layer.alpha
    shown = display(colour) * cover[..., None]
    still = np.dstack((shown, 255 * cover)).round().clip(0, 255).astype(np.uint8)
    depth = blur(np.maximum(form.height * face, 0.55 * blur(scalp.alpha, 6)) - 0.12, 4)
    return Head(person, light, still, depth, _glasses(person, light))


def _ears(person: Person, light: Light, inside: np.ndarray) -> hair.Layer:
    """Two ears that stand out from behind the face."""
    x, y = axes()
    size = 0.2 * person.ears
    middle = person.half_width * 0.985
    sideways, upright = (
        (np.abs(x) - middle) / (0.5 * size),
        (y - 0.1 - 0.25 * (np.abs(x) - middle) * -1) / size,
    )
    distance = np.hypot(sideways, upright * (1 + 0.25 * np.clip(upright, 0, 1)))
    rim = (
        0.05 * bell(distance - 0.78, 0.16)
        + 0.12 * np.sqrt(np.clip(1 - distance, 0, 1))
        - 0.09 * bell(distance, 0.3)
    )
    flush = linear(person.skin) * np.array((1.0, 0.78, 0.74), np.float32)
    albedo = np.broadcast_to(flush, (HEIGHT, WIDTH, 3))
    lit = shade(albedo, blur(rim.astype(np.float32), 1.2), light, through=SKIN_GLOW, gloss=0.04)
    near = 0.55 + 0.45 * step(-inside - 0.02, 0.05)
    return hair.Layer(lit * near[..., None] * 0.9, blur(step(1 - distance, 0.09), 0.6))


def _glasses(person: Person, light: Light) -> np.ndarray | None:
    """Frames, faint lenses and a streak of the key light in them."""
    if person.glasses == "none":
        return None
    x, y = axes()
    p = person
    power = 2.2 if p.glasses == "round" else 4.0
    wide, high = (0.2, 0.19) if p.glasses == "round" else (0.225, 0.155)
    out = np.abs(x) - p.eye_x - 0.01
    rim = (np.abs(out / wide) ** power + np.abs((y - p.eye_y - 0.02) / high) ** power) ** (1 / power)
    thin = 0.035 if p.glasses == "rimless" else 0.075
    frame = step(thin - np.abs(rim - 1), 0.05)
    bridge_y = p.eye_y - 0.03 - 0.04 * np.cos(np.clip(x / 0.12, -1.5, 1.5))
    frame = np.maximum(frame, bell(y - bridge_y, 0.012) * step(p.eye_x - wide + 0.03 - np.abs(x), 0.02))
    arms = bell(y - p.eye_y + 0.04, 0.014) * step(np.abs(x) - p.eye_x - wide, 0.02)
    frame = np.maximum(frame, arms * step(p.half_width - np.abs(x), 0.02))
    lens = step(1 - rim, 0.04)
    streak = lens * bell(out * np.sign(light.direction[0] or 1) + 0.6 * (y - p.eye_y) + 0.08, 0.035) * 0.16
    alpha = np.clip(0.92 * frame + 0.05 * lens + streak, 0, 1)
    tone = (40, 34, 32) if p.texture_seed % 2 else (92, 60, 38)
    tone = (150, 150, 155) if p.glasses == "rimless" else tone
    colour = np.where((frame > streak)[..., None], np.array(tone, np.float32), np.float32(235))
    shown = colour * alpha[..., None]
    return np.dstack((shown, 255 * alpha)).round().clip(0, 255).astype(np.uint8)
