"""A real clip: one person talks in one room, seen by one camera."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from deepfake.corpora.demo.canvas import (
    CENTRE_PX,
    HEIGHT,
    UNIT_PX,
    WIDTH,
    Colour,
    Light,
    bell,
    display,
    linear,
    noise,
    random_light,
    step,
)
from deepfake.corpora.demo.heads import Eyes, Head, Mouth, build_head, draw_face
from deepfake.corpora.demo.people import Person


class Pose(NamedTuple):
    """Where a head is in the frame: centre in pixels, roll in radians, size as a factor, turn and nod as
    shifts of what is nearest to the camera, in units."""

    x_px: float
    y_px: float
    roll: float
    scale: float
    turn: float
    nod: float


class Motion(NamedTuple):
    """One entry per frame."""

    poses: list[Pose]
    mouths: list[Mouth]
    eyes: list[Eyes]


def drift(rng: np.random.Generator, num_frames: int, fps: float, seconds: float) -> np.ndarray:
    """Smooth random movement of unit variance, (num_frames,); seconds is about the time of one swing."""
    sigma = max(seconds * fps / 4, 0.5)
    pad = int(4 * sigma) + 1
    path = gaussian_filter1d(rng.standard_normal(num_frames + 2 * pad), sigma)
    return path[pad:-pad] * np.sqrt(2 * sigma * np.sqrt(np.pi))


def random_poses(
    rng: np.random.Generator, num_frames: int, fps: float, *, centre: tuple[float, float], scale: float
) -> list[Pose]:
    """Poses of a person who sits and talks, nods and turns a little."""
    lively = rng.uniform(0.5, 1.3)
    sway = [drift(rng, num_frames, fps, seconds) for seconds in (1.6, 1.1, 1.8, 2.5, 1.3, 0.8)]
    amount = (5.0, 2.5, 0.035, 0.012, 0.055, 0.03)
    x, y, roll, grow, turn, nod = (lively * size * path for size, path in zip(amount, sway, strict=True))
    turn = turn + rng.uniform(-0.07, 0.07)
    return [
        Pose(centre[0] + x[t], centre[1] + y[t], roll[t], scale * (1 + grow[t]), turn[t], nod[t])
        for t in range(num_frames)
    ]


def random_speech(rng: np.random.Generator, num_frames: int, fps: float) -> list[Mouth]:
    """Mouths at about four syllables per second, with pauses."""
    time = np.arange(num_frames) / fps
    rate = rng.uniform(3.2, 4.8)
    phase = 2 * np.pi * (rate * time + 0.35 * drift(rng, num_frames, fps, 0.5)) + rng.uniform(0, 6.28)
    loud = np.clip(0.75 + 0.7 * drift(rng, num_frames, fps, 0.7), 0, 1.5)
    jaw = np.clip(0.085 * loud * (1 + np.sin(phase)) - 0.02, 0, 0.23)
    wide = 0.6 * drift(rng, num_frames, fps, 0.3).clip(-1.6, 1.6)
    smile = np.clip(rng.uniform(-0.3, 0.5) + 0.25 * drift(rng, num_frames, fps, 1.5), 0, 1)
    return [Mouth(float(jaw[t]), float(wide[t]), float(smile[t])) for t in range(num_frames)]


def random_eyes(rng: np.random.Generator, num_frames: int, fps: float) -> list[Eyes]:
    """Gaze that rests and jumps, blinks of a fifth of a second, and slowly moving brows."""
    lids = np.ones(num_frames)
    moment = rng.uniform(0, 1.5)
    while moment * fps < num_frames:
        lids = np.minimum(lids, np.abs(np.arange(num_frames) / fps - moment) / 0.1)
        moment += rng.uniform(0.9, 2.6)
    lids = np.clip(lids * rng.uniform(0.88, 1.05), 0, 1.05)
    looks = rng.normal(0, (0.35, 0.2), (num_frames, 2))
    jumps = np.maximum.accumulate(np.where(rng.random(num_frames) < 1.6 / fps, np.arange(num_frames), 0))
    brow = 0.012 * drift(rng, num_frames, fps, 0.9)
    return [
        Eyes(float(lids[t]), float(looks[jumps[t], 0]), float(looks[jumps[t], 1]), float(brow[t]))
        for t in range(num_frames)
    ]


# The surroundings of the head: a room out of focus, shoulders and clothes.


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
    brightness = light.ambient * 1.6 + light.key * 0.5
    return display(picture * brightness).astype(np.float32)


def body(rng: np.random.Generator, person: Person, light: Light, unit_px: float) -> np.ndarray:
    """Neck, shoulders and clothes, (H, W, 4) uint8 premultiplied; the chin is at (W / 2, CHIN_UNITS).

    unit_px: pixels a unit of the head.
    """
    half, down = round(2.6 * unit_px), round(TORSO_UNITS * unit_px)
    y, x = np.mgrid[0:down, -half:half].astype(np.float32) / unit_px
    y -= CHIN_UNITS
    neck_half = 0.62 * person.half_width + 0.1 * np.clip(y, 0, 1)

    side = np.clip(x / np.maximum(neck_half, 0.1), -1, 1)
    facing = np.clip(0.75 * np.sqrt(1 - 0.9 * side**2) + 0.6 * side * light.direction[0], 0, None)
    under_chin = 0.35 + 0.65 * step(y - 0.2, 0.25)
    skin = linear(person.skin) * (light.ambient + light.key * (facing * under_chin)[..., None])
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
    fabric = cloth * (light.ambient + 0.8 * light.key * lit[..., None])
    collar = bell(y - opening - 0.02, 0.03) * cloth_alpha
    fabric = fabric * (1 - 0.35 * collar[..., None])

    colour = skin + (fabric - skin) * cloth_alpha[..., None]
    alpha = np.maximum(neck * step(1.2 - y, 0.1), np.maximum(cloth_alpha, shoulders * neck))
    shown = display(colour) * alpha[..., None]
    return np.dstack((shown, 255 * alpha)).round().clip(0, 255).astype(np.uint8)


# All of it as one clip.


SIZES = ((360, 360), (400, 336), (336, 400), (384, 352))  # height, width in pixels
GRAIN_SPARE_PX = 97
BODY_SWAY = 0.35  # how far shoulders follow the head


class Footage(NamedTuple):
    """Everything that the frames of a clip are rendered from.

    room: (H, W, 3) float32. torso: (h, w, 4) uint8 premultiplied. grain: sensor noise, larger than a frame by
    GRAIN_SPARE_PX; each frame gets the part that starts at its grain_at (row, column).
    """

    head: Head
    room: np.ndarray
    torso: np.ndarray
    motion: Motion
    centre: tuple[float, float]
    scale: float
    fps: int
    grain: np.ndarray
    grain_at: np.ndarray

    @property
    def num_frames(self) -> int:
        """Length of the clip."""
        return len(self.motion.poses)


def random_footage(rng: np.random.Generator, person: Person) -> Footage:
    """A new clip of a person; everything but the person is drawn from rng."""
    height, width = SIZES[rng.integers(len(SIZES))]
    fps = (25, 30)[rng.integers(2)]
    num_frames = round(fps * rng.uniform(1.6, 2.4))
    light = random_light(rng)
    spare = GRAIN_SPARE_PX
    scale = rng.uniform(0.66, 0.84) * min(height, width) / 352
    centre = (width / 2 + rng.uniform(-0.07, 0.07) * width, height * rng.uniform(0.44, 0.5))
    poses = random_poses(rng, num_frames, fps, centre=centre, scale=scale)
    motion = Motion(poses, random_speech(rng, num_frames, fps), random_eyes(rng, num_frames, fps))
    return Footage(
        head=build_head(person, light),
        room=background(rng, height, width, light),
        torso=body(rng, person, light, scale * UNIT_PX),
        motion=motion,
        centre=centre,
        scale=scale,
        fps=fps,
        grain=rng.normal(0, rng.uniform(1.5, 4.0), (height + spare, width + spare, 3)).astype(np.float32),
        grain_at=rng.integers(0, spare, (num_frames, 2)),
    )


def film_frame(footage: Footage, index: int) -> np.ndarray:
    """One frame with sensor noise, (H, W, 3) uint8."""
    pose = footage.motion.poses[index]
    picture = lay_over(footage.room, torso_in_frame(footage, pose))
    board = draw_face(footage.head, footage.motion.mouths[index], footage.motion.eyes[index])
    picture = lay_over(picture, in_frame(board, footage.head.depth, pose, picture.shape[:2]))
    height, width = picture.shape[:2]
    row, column = footage.grain_at[index]
    picture += footage.grain[row : row + height, column : column + width]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def in_frame(board: np.ndarray, depth: np.ndarray, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """A drawing board (HEIGHT, WIDTH, C) in a pose, (H, W, C)."""
    columns = np.arange(WIDTH, dtype=np.float32)[None] - np.float32(UNIT_PX * pose.turn) * depth
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None] - np.float32(UNIT_PX * pose.nod) * depth
    turned = cv2.remap(board, columns, rows, cv2.INTER_LINEAR)
    cos, sin = pose.scale * np.cos(pose.roll), pose.scale * np.sin(pose.roll)
    rotation = np.array([[cos, -sin], [sin, cos]])
    shift = np.array((pose.x_px, pose.y_px)) - rotation @ np.array(CENTRE_PX)
    placement = np.column_stack([rotation, shift]).astype(np.float32)
    return cv2.warpAffine(turned, placement, size[::-1], flags=cv2.INTER_AREA)


def lay_over(picture: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """A copy of a picture (H, W, 3) float32 under a premultiplied layer (H, W, 4) uint8."""
    x, y, width, height = cv2.boundingRect(layer[..., 3])
    part = np.s_[y : y + height, x : x + width]
    keep = 1 - layer[part][..., 3:].astype(np.float32) / 255
    covered = picture.copy()
    covered[part] = picture[part] * keep + layer[part][..., :3]
    return covered


def torso_in_frame(footage: Footage, pose: Pose) -> np.ndarray:
    """The torso under the head's chin, following it a little."""
    height, width = footage.room.shape[:2]
    wide = footage.torso.shape[1]
    x = footage.centre[0] + BODY_SWAY * (pose.x_px - footage.centre[0])
    y = footage.centre[1] + BODY_SWAY * (pose.y_px - footage.centre[1]) + 0.92 * UNIT_PX * footage.scale
    move = np.array([[1, 0, x - wide / 2], [0, 1, y - CHIN_UNITS * UNIT_PX * footage.scale]], np.float32)
    return cv2.warpAffine(footage.torso, move, (width, height), flags=cv2.INTER_LINEAR)
