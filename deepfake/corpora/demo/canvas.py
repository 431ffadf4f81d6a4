"""The drawing board of a head: its coordinates, the few strokes that everything is drawn with, and light.

Lengths are in half face heights: the eyes near y = 0, the chin at y = 1, the skull's top at y = -1.05;
x to the right, y down, z towards the camera. Colours are sRGB in 0..255 unless they are called linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

UNIT_PX = 120  # pixels a unit; frames show heads at 0.7 to 1.0 of this
WIDTH, HEIGHT = 344, 408
CENTRE_PX = (172.0, 216.0)  # where (0, 0) lies

Part = tuple[slice, slice]
"""Rows and columns of a part of the board."""
WHOLE: Part = (slice(0, HEIGHT), slice(0, WIDTH))


def axes(part: Part = WHOLE) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a part's columns (1, w) and of its rows (h, 1), float32, in units."""
    x = (np.arange(WIDTH, dtype=np.float32)[part[1]] - CENTRE_PX[0]) / UNIT_PX
    y = (np.arange(HEIGHT, dtype=np.float32)[part[0]] - CENTRE_PX[1]) / UNIT_PX
    return x[None, :], y[:, None]


X, Y = axes()


def part_between(x0: float, y0: float, x1: float, y1: float) -> Part:
    """The part of the board between two corners in units."""
    left, top = round(x0 * UNIT_PX + CENTRE_PX[0]), round(y0 * UNIT_PX + CENTRE_PX[1])
    right, bottom = round(x1 * UNIT_PX + CENTRE_PX[0]), round(y1 * UNIT_PX + CENTRE_PX[1])
    return slice(max(top, 0), min(bottom, HEIGHT)), slice(max(left, 0), min(right, WIDTH))


def to_px(points: np.ndarray) -> np.ndarray:
    """Points (..., 2) in units -> pixels of the board, float32."""
    return (np.asarray(points, np.float32) * UNIT_PX + np.array(CENTRE_PX, np.float32)).astype(np.float32)


def bell(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Gaussian bump of height 1 over a distance."""
    return np.exp(-0.5 * np.square(distance / width))


def spot(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Gaussian bump of height 1 at a point, (HEIGHT, WIDTH) float32."""
    return bell(Y - y, height) * bell(X - x, width)


def pair(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Two bumps mirrored at the face's middle, (HEIGHT, WIDTH) float32."""
    return bell(Y - y, height) * (bell(X - x, width) + bell(X + x, width))


def step(value: np.ndarray, softness: float | np.ndarray) -> np.ndarray:
    """0 below -softness, 1 above +softness, smooth between."""
    t = np.clip(value / (2 * softness) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur; wide ones are done on a smaller picture."""
    if sigma_px <= 6:
        return cv2.GaussianBlur(image, (0, 0), sigma_px)
    height, width = image.shape[:2]
    factor = sigma_px / 3
    size = (int(width / factor) + 1, int(height / factor) + 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), 3), (width, height), interpolation=cv2.INTER_LINEAR)


def noise(rng: np.random.Generator, height: int, width: int, grain_px: float) -> np.ndarray:
    """Smooth noise with unit variance, (height, width) float32; grain_px is about the size of its blobs."""
    factor = max(grain_px / 2, 1.0)
    shape = (int(height / factor) + 3, int(width / factor) + 3)
    field: np.ndarray = rng.standard_normal(shape, dtype=np.float32)
    if grain_px > 0.5:
        field = cv2.GaussianBlur(field, (0, 0), grain_px / factor / 2 + 0.2)
    field = (field - field.mean()) / field.std()
    if factor == 1:
        return field[:height, :width]
    return cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)


def mix(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colour over colour: below (H, W, C), above (H, W, C) or (C,), alpha (H, W) in 0..1."""
    return below + (np.asarray(above, np.float32) - below) * alpha[..., None]


def premultiplied(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colour (H, W, 3) 0..255 and alpha (H, W) in 0..1 as one layer (H, W, 4) uint8."""
    return np.dstack((colour * alpha[..., None], 255 * alpha)).round().clip(0, 255).astype(np.uint8)


def linear(colour: ArrayLike) -> np.ndarray:
    """Colour sRGB 0..255 -> linear light 0..1, float32."""
    return (np.asarray(colour, np.float32) / 255) ** np.float32(2.2)


def display(light: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB 0..255 float32, with a soft shoulder so that highlights do not clip hard."""
    light = np.maximum(light, 0)
    soft = np.where(light < 0.6, light, 0.6 + 0.4 * (1 - np.exp(-(light - 0.6) / 0.4)))
    return 255 * soft ** np.float32(1 / 2.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """A key light and the ambient light: direction towards the key light, linear colours (3,) float32."""

    direction: tuple[float, float, float]
    key: np.ndarray
    ambient: np.ndarray
    softness: float


def random_light(rng: np.random.Generator) -> Light:
    """Mostly from above and in front, warm to cool, soft to hard."""
    x, y = rng.uniform(-0.95, 0.95), rng.uniform(-0.8, -0.15)
    norm = float(np.sqrt(x * x + y * y + 1))
    warmth, strength = rng.uniform(-0.1, 0.14), rng.uniform(0.68, 0.98)
    fill, tint = rng.uniform(0.2, 0.36), rng.uniform(-0.08, 0.08)
    return Light(
        direction=(x / norm, y / norm, 1 / norm),
        key=np.array((strength * (1 + warmth), strength, strength * (1 - 1.3 * warmth)), np.float32),
        ambient=np.array((fill * (1 + tint), fill, fill * (1 - tint)), np.float32),
        softness=rng.uniform(0, 1),
    )


def normals(height: np.ndarray) -> np.ndarray:
    """Unit normals (H, W, 3) of a height field (H, W) in units."""
    slope_x = cv2.Scharr(height, cv2.CV_32F, 1, 0, scale=UNIT_PX / 32)
    slope_y = cv2.Scharr(height, cv2.CV_32F, 0, 1, scale=UNIT_PX / 32)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    return np.stack((-slope_x / length, -slope_y / length, 1 / length), axis=-1)


def shadow(height: np.ndarray, light: Light) -> np.ndarray:
    """The share of key light that arrives, (H, W) in 0..1, by rays of half a unit towards the light."""
    x, y, z = light.direction
    planar = max(float(np.hypot(x, y)), 1e-3)
    blocked = np.zeros_like(height)
    for distance in np.linspace(0.03, 0.5, 9):
        shift = distance * UNIT_PX / planar
        move = np.array(((1, 0, -x * shift), (0, 1, -y * shift)), np.float32)
        towards = cv2.warpAffine(height, move, height.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        above = towards - height - distance * z / planar
        np.maximum(blocked, above / (0.03 + 0.25 * distance), out=blocked)
    return 1 - (0.85 - 0.35 * light.softness) * blur(np.clip(blocked, 0, 1), 2 + 3 * light.softness)


SKIN_GLOW = (0.42, 0.2, 0.14)  # how far each colour wraps around the terminator; red travels furthest in skin
SHINE = 22.0


def shade(albedo: np.ndarray, height: np.ndarray, light: Light, *, gloss: np.ndarray | float) -> np.ndarray:
    """Skin under a light, linear (H, W, 3), from linear albedo (H, W, 3) over a height field (H, W).

    gloss: strength of the highlight, (H, W) or one number.
    """
    normal = normals(height)
    towards = np.array(light.direction, np.float32)
    half = towards + np.array((0, 0, 1), np.float32)
    half /= np.linalg.norm(half)
    facing, reach = normal @ towards, shadow(height, light)
    wrap = np.array(SKIN_GLOW, np.float32) + 0.25 * light.softness
    diffuse = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None) * reach[..., None]
    hollow = np.clip(1 - 3.5 * np.clip(blur(height, 10) - height, 0, 0.15), 0.3, 1)
    ambient = (hollow * (0.8 - 0.2 * normal[..., 1]))[..., None] * light.ambient
    highlight = np.clip(normal @ half, 0, 1) ** SHINE * gloss * reach
    return albedo * (ambient + diffuse * light.key) + highlight[..., None] * light.key
