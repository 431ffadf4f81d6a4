"""A head under a light: what stays still is drawn once, eyes and mouth for every expression."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import (
    HEIGHT,
    UNIT_PX,
    WIDTH,
    Light,
    Part,
    X,
    Y,
    axes,
    bell,
    blur,
    display,
    linear,
    mix,
    noise,
    part_between,
    premultiplied,
    shade,
    step,
)
from deepfake.corpora.demo.face import (
    Layer,
    Person,
    back_hair,
    beard,
    brows,
    gloss,
    mouth_line,
    paint,
    relief,
    scalp_hair,
)

IRIS_RADIUS = 0.069


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
    height, inside = relief(person)
    albedo = paint(person, rng)
    pores = 0.0011 * noise(rng, HEIGHT, WIDTH, 1.6) + 0.0022 * noise(rng, HEIGHT, WIDTH, 4)
    lit = shade(albedo, height + pores, light, gloss=gloss(person, rng))
    face = blur(step(inside, 0.012), 0.6)

    colour = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    cover = np.zeros((HEIGHT, WIDTH), np.float32)
    layers = [back_hair(person, light, rng), _ears(person, light, inside)]
    scalp = scalp_hair(person, inside, light, rng)
    under = 1 - 0.45 * np.clip(blur(scalp.alpha, 5) - 0.15, 0, 1)  # hair keeps light from the skin beside it
    layers += [Layer(lit * under[..., None], face), beard(person, light, rng)]
    layers += [brows(person, rng), scalp]
    for layer in layers:
        if layer is not None:
            colour = mix(colour, layer.colour, layer.alpha)
            cover = cover + (1 - cover) * layer.alpha
    still = premultiplied(display(colour), cover)
    depth = blur(np.maximum(height * face, 0.55 * blur(scalp.alpha, 6)) - 0.12, 4)
    return Head(person, light, still, depth, _glasses(person, light))


def _ears(person: Person, light: Light, inside: np.ndarray) -> Layer:
    """Two ears that stand out from behind the face."""
    size = 0.2 * person.ears
    middle = person.half_width * 0.985
    out = np.abs(X) - middle
    sideways, upright = out / (0.5 * size), (Y - 0.1 + 0.25 * out) / size
    distance = np.hypot(sideways, upright * (1 + 0.25 * np.clip(upright, 0, 1)))
    rim = 0.05 * bell(distance - 0.78, 0.16) + 0.12 * np.sqrt(np.clip(1 - distance, 0, 1))
    rim = rim - 0.09 * bell(distance, 0.3)
    flush = linear(person.skin) * np.array((1.0, 0.78, 0.74), np.float32)
    albedo = np.broadcast_to(flush, (HEIGHT, WIDTH, 3))
    lit = shade(albedo, blur(rim.astype(np.float32), 1.2), light, gloss=0.04)
    near = 0.55 + 0.45 * step(-inside - 0.02, 0.05)
    return Layer(lit * near[..., None] * 0.9, blur(step(1 - distance, 0.09), 0.6))


def _glasses(person: Person, light: Light) -> np.ndarray | None:
    """Frames, faint lenses and a streak of the key light in them."""
    if person.glasses == "none":
        return None
    p = person
    power = 2.2 if p.glasses == "round" else 4.0
    wide, high = (0.2, 0.19) if p.glasses == "round" else (0.225, 0.155)
    out = np.abs(X) - p.eye_x - 0.01
    rim = (np.abs(out / wide) ** power + np.abs((Y - p.eye_y - 0.02) / high) ** power) ** (1 / power)
    thin = 0.035 if p.glasses == "rimless" else 0.075
    frame = step(thin - np.abs(rim - 1), 0.05)
    bridge_y = p.eye_y - 0.03 - 0.04 * np.cos(np.clip(X / 0.12, -1.5, 1.5))
    frame = np.maximum(frame, bell(Y - bridge_y, 0.012) * step(p.eye_x - wide + 0.03 - np.abs(X), 0.02))
    arms = bell(Y - p.eye_y + 0.04, 0.014) * step(np.abs(X) - p.eye_x - wide, 0.02)
    frame = np.maximum(frame, arms * step(p.half_width - np.abs(X), 0.02))
    lens = step(1 - rim, 0.04)
    streak = lens * bell(out * np.sign(light.direction[0] or 1) + 0.6 * (Y - p.eye_y) + 0.08, 0.035) * 0.16
    alpha = np.clip(0.92 * frame + 0.05 * lens + streak, 0, 1)
    tone = (40, 34, 32) if p.texture_seed % 2 else (92, 60, 38)
    tone = (150, 150, 155) if p.glasses == "rimless" else tone
    colour = np.where((frame > streak)[..., None], np.array(tone, np.float32), np.float32(235))
    return premultiplied(colour, alpha)


class Mouth(NamedTuple):
    """jaw: how far the lips part, in units. wide: -1 pursed to 1 spread. smile: 0..1."""

    jaw: float
    wide: float
    smile: float


class Eyes(NamedTuple):
    """lids: 0 closed to 1 open. gaze: -1..1 right and down. brow: how far it is raised, in units."""

    lids: float
    gaze_x: float
    gaze_y: float
    brow: float


def draw_face(head: Head, mouth: Mouth, eyes: Eyes) -> np.ndarray:
    """The head with an expression, (H, W, 4) uint8 premultiplied."""
    board = head.still.copy()
    part = part_between(-0.62, -0.5, 0.62, -0.05)
    x, y = axes(part)
    lift = eyes.brow * np.clip(bell(y - head.person.brow_y, 0.09) * step(0.58 - np.abs(x), 0.06), 0, 1)
    board[part] = _pull(board, part, np.zeros_like(lift), lift)
    _draw_mouth(board, head, mouth)
    for side in (-1, 1):
        _draw_eye(board, head, eyes, side)
    if head.glasses is not None:
        part = part_between(-0.85, -0.3, 0.85, 0.3)
        glass = head.glasses[part]
        keep = 255 - glass[..., 3:].astype(np.uint16)
        board[part] = (board[part] * keep // 255 + glass).clip(0, 255).astype(np.uint8)
    return board


def _draw_mouth(board: np.ndarray, head: Head, mouth: Mouth) -> None:
    """Move the lips and the chin, then draw what shows between the lips."""
    p = head.person
    part = part_between(-0.72, p.mouth_y - 0.3, 0.72, 1.3)
    x, y = axes(part)
    spread = 1 + 0.16 * mouth.wide + 0.1 * mouth.smile
    across = np.clip(np.abs(x) / (p.mouth_half_width * spread), 0, 1)
    arch = (1 - across**2.2) ** 0.75
    corners = 0.045 * mouth.smile * bell(np.abs(x) - p.mouth_half_width, 0.1) * bell(y - p.mouth_y, 0.12)
    line = mouth_line(p, x / spread) - 0.045 * mouth.smile * bell(np.abs(x) - p.mouth_half_width, 0.1)
    top, bottom = line - 0.22 * mouth.jaw * arch, line + 0.78 * mouth.jaw * arch
    beneath = np.clip((y - bottom) / 0.45, 0, 1)
    jaw = 0.78 * mouth.jaw * ((1 - beneath) * arch + beneath * 0.6) * step(0.7 - np.abs(x), 0.12)
    jaw = jaw * step(1.25 - y, 0.06)
    above = 0.22 * mouth.jaw * arch * np.clip(1 - (top - y) / 0.2, 0, 1)
    down = np.where(y >= bottom, -jaw, np.where(y <= top, above, 0)) + corners
    sideways = x * (1 / spread - 1) * bell(x, 0.3) * bell(y - p.mouth_y - 0.03, 0.12)
    board[part] = _pull(board, part, sideways, down)
    if mouth.jaw > 0.004:
        columns = part_between(-1.35 * p.mouth_half_width, 0, 1.35 * p.mouth_half_width, 1)[1]
        cut = slice(columns.start - part[1].start, columns.stop - part[1].start)
        inner = (part[0], columns)
        _draw_cavity(board, head, inner, top=top[:, cut], bottom=bottom[:, cut], across=across[:, cut])


def _draw_cavity(
    board: np.ndarray, head: Head, part: Part, *, top: np.ndarray, bottom: np.ndarray, across: np.ndarray
) -> None:
    """Teeth, tongue and the dark between the lips' edges top and bottom, (h, w) in units."""
    x, y = axes(part)
    gap = bottom - top
    open_here = step(y - top, 0.012) * step(bottom - y, 0.012) * step(gap - 0.012, 0.012) * (across < 0.985)
    ambient = head.light.ambient + 0.45 * head.light.key
    colour = np.broadcast_to(np.array((0.035, 0.012, 0.01), np.float32), (*open_here.shape, 3))
    tongue = step(y - bottom + 0.055 - 0.03 * (1 - across), 0.03) * step(gap - 0.07, 0.04) * (1 - across**2)
    colour = mix(colour, np.array((0.3, 0.085, 0.08), np.float32) * ambient, 0.8 * tongue)
    seam = 1 - 0.28 * bell(np.sin(np.pi * x / 0.062), 0.16)
    round_off = np.clip(1 - 0.75 * across**2, 0, 1)
    upper = step(head.person.mouth_y + 0.028 + 0.006 * np.cos(np.pi * 2 * x / 0.062) - y, 0.012)
    lower = step(y - bottom + 0.022, 0.01) * step(gap - 0.11, 0.03) * 0.6
    enamel = np.array((0.78, 0.72, 0.62), np.float32) * ambient * (seam * round_off)[..., None]
    colour = mix(colour, enamel, np.clip(upper + lower, 0, 1))
    shadow = 1 - 0.55 * bell(y - top, 0.025)
    _cover(board, part, display(colour * shadow[..., None]), open_here)


def _draw_eye(board: np.ndarray, head: Head, eyes: Eyes, side: int) -> None:
    """Eyeball, iris and lashes between the lids; the still head has the lids closed."""
    p = head.person
    part = part_between(side * p.eye_x - 0.25, p.eye_y - 0.2, side * p.eye_x + 0.25, p.eye_y + 0.15)
    x, y = axes(part)
    dx, dy = x - side * p.eye_x, y - p.eye_y
    out = dx * side
    dy = dy + p.eye_tilt * out
    u = np.clip(out / p.eye_half_width, -1.15, 1.15)
    body = np.clip(1 - u * u, 0, 1)
    skew = 1 - 0.25 * u  # highest towards the nose
    low = 0.55 * p.eye_open * body**0.8 * (1 + 0.2 * u)
    wide_open = -1.05 * p.eye_open * body**0.62 * skew
    lid = low - 0.004 + (wide_open - low) * np.clip(eyes.lids, 0, 1.15)
    gap = step(dy - lid, 0.009) * step(low - dy, 0.009) * step(1 - np.abs(u), 0.03)

    gaze_x, gaze_y = 0.045 * eyes.gaze_x - 0.006 * side, 0.03 * eyes.gaze_y - 0.012
    r = np.hypot(dx - gaze_x, dy - gaze_y) / IRIS_RADIUS
    light = head.light.ambient + 0.62 * head.light.key
    ball = np.clip(1.05 - 0.55 * u**2, 0, 1) * (1 - 0.5 * bell(dy - lid, 0.022))
    white: np.ndarray = np.array((0.74, 0.68, 0.64), np.float32)
    corner = np.clip(-u - 0.8, 0, 1) * 5
    white = mix(white, np.array((0.62, 0.3, 0.27), np.float32), np.clip(corner, 0, 1))
    rings = linear(p.iris) * (1.5 - 0.75 * r[..., None].clip(0, 1) + 0.5 * bell(r - 0.55, 0.1)[..., None])
    rings = rings * (1 - 0.75 * step(r - 0.93, 0.12))[..., None]
    rings = rings * (1 - 0.96 * step(0.42 - r, 0.08))[..., None]
    colour = mix(white, rings, step(1 - r, 0.08))
    glint_x, glint_y = 0.028 * head.light.direction[0], 0.03 * head.light.direction[1] - 0.008
    glint = bell(np.hypot(dx - gaze_x - glint_x, dy - gaze_y - glint_y), 0.0115)
    shown = colour * (light * ball[..., None]) + 0.85 * np.clip(1.4 * glint, 0, 1)[..., None]
    _cover(board, part, display(shown), gap)

    near = step(1.08 - np.abs(u), 0.06)
    lash = bell(dy - lid + 0.004, 0.0105 + 0.005 * np.clip(u, 0, 1)) * near * 0.85
    under = 0.3 * bell(dy - low, 0.008) * near * np.clip(u + 0.6, 0, 1)
    crease = 0.42 * bell(dy - wide_open + 0.042 - 0.012 * (1 - eyes.lids), 0.0095) * near
    crease = crease * np.clip(eyes.lids + 0.25, 0, 1)
    dark = np.minimum(linear(p.skin) * 0.16, 0.03)
    _cover(board, part, display(np.broadcast_to(dark, shown.shape)), np.clip(lash + under, 0, 1))
    fold = display(linear(p.skin) * np.array((0.3, 0.2, 0.18), np.float32) * light)
    _cover(board, part, np.broadcast_to(fold, shown.shape), crease)


def _pull(board: np.ndarray, part: Part, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The part of the board where every pixel is fetched from right and down of itself, in units."""
    rows, columns = part
    map_x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] + UNIT_PX * right
    map_y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + UNIT_PX * down
    return cv2.remap(board, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)


def _cover(board: np.ndarray, part: Part, colour: np.ndarray, alpha: np.ndarray) -> None:
    """Lay a colour (h, w, 3) 0..255 over the opaque skin of a part."""
    below = board[part][..., :3]
    board[part][..., :3] = (below + (colour - below) * alpha[..., None] + 0.5).clip(0, 255).astype(np.uint8)
