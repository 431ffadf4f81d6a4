"""Light on a height field: normals, soft shadows, and skin that lets red light through."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import UNIT_PX, blur


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """A key light and what the room returns: direction towards the light (x, y, z), linear colours (3,)."""

    direction: tuple[float, float, float]
    key: tuple[float, float, float]
    ambient: tuple[float, float, float]
    softness: float


def random_light(rng: np.random.Generator) -> Light:
    """Mostly from above and in front, warm to cool, soft to hard."""
    x, y = rng.uniform(-0.95, 0.95), rng.uniform(-0.8, -0.15)
    norm = float(np.sqrt(x * x + y * y + 1))
    warmth, strength = rng.uniform(-0.1, 0.14), rng.uniform(0.68, 0.98)
    fill, tint = rng.uniform(0.2, 0.36), rng.uniform(-0.08, 0.08)
    return Light(
        direction=(x / norm, y / norm, 1 / norm),
        key=(strength * (1 + warmth), strength, strength * (1 - 1.3 * warmth)),
        ambient=(fill * (1 + tint), fill, fill * (1 - tint)),
        softness=rng.uniform(0, 1),
    )


def normals(height: np.ndarray) -> np.ndarray:
    """Unit normals (H, W, 3) of a height field (H, W) in units."""
    slope_x = cv2.Scharr(height, cv2.CV_32F, 1, 0, scale=UNIT_PX / 32)
    slope_y = cv2.Scharr(height, cv2.CV_32F, 0, 1, scale=UNIT_PX / 32)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    return np.stack((-slope_x / length, -slope_y / length, 1 / length), axis=-1)


def shadow(height: np.ndarray, light: Light, *, reach: float = 0.5) -> np.ndarray:
    """How much key light arrives, (H, W) in 0..1: rays towards the light over the field, reach units long."""
    x, y, z = light.direction
    planar = max(float(np.hypot(x, y)), 1e-3)
    blocked = np.zeros_like(height)
    for distance in np.linspace(0.03, reach, 9):
        shift = distance * UNIT_PX / planar
        move = np.array(((1, 0, -x * shift), (0, 1, -y * shift)), np.float32)
        towards = cv2.warpAffine(height, move, height.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        np.maximum(
            blocked, (towards - height - distance * z / planar) / (0.03 + 0.25 * distance), out=blocked
        )
    return 1 - (0.85 - 0.35 * light.softness) * blur(np.clip(blocked, 0, 1), 2 + 3 * light.softness)


def shade(
    albedo: np.ndarray,
    height: np.ndarray,
    light: Light,
    *,
    through: tuple[float, float, float] = (0.0, 0.0, 0.0),
    gloss: np.ndarray | float = 0.0,
    shine: float = 22.0,
) -> np.ndarray:
    """Linear light (H, W, 3) from linear albedo (H, W, 3) over a height field (H, W).

    through: how far each colour wraps around the terminator (skin). gloss: strength of the highlight.
    """
    normal = normals(height)
    towards = np.array(light.direction, np.float32)
    half = towards + np.array((0, 0, 1), np.float32)
    half /= np.linalg.norm(half)
    facing, reach = normal @ towards, shadow(height, light)
    wrap = np.array(through, np.float32) + 0.25 * light.softness
    diffuse = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None) * reach[..., None]
    hollow = np.clip(1 - 3.5 * np.clip(blur(height, 10) - height, 0, 0.15), 0.3, 1)
    ambient = (hollow * (0.8 - 0.2 * normal[..., 1]))[..., None] * np.array(light.ambient, np.float32)
    key = np.array(light.key, np.float32)
    highlight = np.clip(normal @ half, 0, 1) ** shine * gloss * reach
    return albedo * (ambient + diffuse * key) + highlight[..., None] * key
