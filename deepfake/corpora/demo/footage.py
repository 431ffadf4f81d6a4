"""A clip: one person talks in one room, seen by one camera; and two manipulations of it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from deepfake.corpora.demo.canvas import (
    CENTRE_PX,
    HEIGHT,
    UNIT_PX,
    WIDTH,
    Light,
    X,
    Y,
    bell,
    blur,
    display,
    linear,
    noise,
    premultiplied,
    random_light,
    step,
    to_px,
)
from deepfake.corpora.demo.face import Person
from deepfake.corpora.demo.heads import Eyes, Head, Mouth, build_head, draw_face


class Pose(NamedTuple):
    """Where a head is in the frame: centre in pixels, roll in radians, size as a factor, turn and nod as
    shifts of what is nearest to the camera, in units."""

    x_px: float
    y_px: float
    roll: float
    scale: float
    turn: float
    nod: float


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
    rows = np.stack((centre[0] + x, centre[1] + y, roll, scale * (1 + grow), turn, nod), axis=1)
    return [Pose(*row) for row in rows.tolist()]


def random_speech(rng: np.random.Generator, num_frames: int, fps: float) -> list[Mouth]:
    """Mouths at about four syllables per second, with pauses."""
    time = np.arange(num_frames) / fps
    rate = rng.uniform(3.2, 4.8)
    phase = 2 * np.pi * (rate * time + 0.35 * drift(rng, num_frames, fps, 0.5)) + rng.uniform(0, 6.28)
    loud = np.clip(0.75 + 0.7 * drift(rng, num_frames, fps, 0.7), 0, 1.5)
    jaw = np.clip(0.085 * loud * (1 + np.sin(phase)) - 0.02, 0, 0.23)
    wide = 0.6 * drift(rng, num_frames, fps, 0.3).clip(-1.6, 1.6)
    smile = np.clip(rng.uniform(-0.3, 0.5) + 0.25 * drift(rng, num_frames, fps, 1.5), 0, 1)
    return [Mouth(*row) for row in np.stack((jaw, wide, smile), axis=1).tolist()]


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
    return [Eyes(*row) for row in np.column_stack((lids, looks[jumps], brow)).tolist()]


CLOTHES = (
    *((38, 44, 60), (62, 60, 64), (110, 40, 44), (52, 84, 92), (160, 150, 132)),
    *((196, 198, 204), (84, 104, 70), (128, 100, 140), (186, 128, 66), (70, 96, 150)),
)
TORSO_UNITS, CHIN_UNITS = 3.2, 0.67  # height of the torso's picture, and where the chin lies in it
WALLS = (
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
    return premultiplied(display(colour), alpha)


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
    poses: list[Pose]
    mouths: list[Mouth]
    eyes: list[Eyes]
    centre: tuple[float, float]
    scale: float
    fps: int
    grain: np.ndarray
    grain_at: np.ndarray


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
    mouths, eyes = random_speech(rng, num_frames, fps), random_eyes(rng, num_frames, fps)
    return Footage(
        head=build_head(person, light),
        room=background(rng, height, width, light),
        torso=body(rng, person, light, scale * UNIT_PX),
        poses=poses,
        mouths=mouths,
        eyes=eyes,
        centre=centre,
        scale=scale,
        fps=fps,
        grain=rng.normal(0, rng.uniform(1.5, 4.0), (height + spare, width + spare, 3)).astype(np.float32),
        grain_at=rng.integers(0, spare, (num_frames, 2)),
    )


def film_frame(footage: Footage, index: int) -> np.ndarray:
    """One frame with sensor noise, (H, W, 3) uint8."""
    pose = footage.poses[index]
    picture = lay_over(footage.room, torso_in_frame(footage, pose))
    board = draw_face(footage.head, footage.mouths[index], footage.eyes[index])
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


def real_frames(footage: Footage) -> Iterator[np.ndarray]:
    """Frames of the clip without manipulation."""
    return (film_frame(footage, index) for index in range(len(footage.poses)))


# Two manipulations of a clip, with the artifacts of real ones: what a generator renders at low resolution is
# blended in, slightly misplaced in each frame. Both start from frames with sensor noise.

FACE_UNITS = 2.0  # side of the square that a generator renders, in units of the board


def swapped_frames(
    rng: np.random.Generator, footage: Footage, frames: Iterator[np.ndarray], donor: Person
) -> Iterator[np.ndarray]:
    """Frames of the clip with the donor's inner face, matched in colour, (H, W, 3) uint8 each."""
    person = footage.head.person
    inner = copy(donor)
    inner.hair_style, inner.glasses = "bald", person.glasses
    head = build_head(inner, footage.head.light)
    side_px = int(rng.integers(52, 85))
    fit = cv2.getAffineTransform(to_px(donor.anchors), to_px(person.anchors)).astype(np.float32)
    # brows, eyes, nose and mouth
    mask = _soft_mask(1 - np.hypot(X / (0.82 * person.half_width), (Y - 0.26) / 0.6))
    match = None
    for index, frame in enumerate(frames):
        board = draw_face(head, footage.mouths[index], footage.eyes[index])
        face = cv2.warpAffine(board, fit, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        patch = _generated(rng, footage, index, face, mask=mask, side_px=side_px, jitter_px=1.6)
        match = match or _colour_match(patch, frame)
        yield _blend(frame, patch, *match)


def reenacted_frames(
    rng: np.random.Generator, footage: Footage, frames: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """Frames of the clip with other speech in the mouth region, (H, W, 3) uint8 each."""
    person = footage.head.person
    side_px = int(rng.integers(44, 73))
    speech = random_speech(rng, len(footage.poses), footage.fps)
    mask = _soft_mask(1 - np.hypot(X / (1.9 * person.mouth_half_width), (Y - person.mouth_y - 0.02) / 0.32))
    tint = rng.normal(1, 0.035, 3).astype(np.float32)
    for index, frame in enumerate(frames):
        board = draw_face(footage.head, speech[index], footage.eyes[index])
        patch = _generated(rng, footage, index, board, mask=mask, side_px=side_px, jitter_px=1.4)
        yield _blend(frame, patch, tint, np.zeros(3, np.float32))


def _soft_mask(inside: np.ndarray) -> np.ndarray:
    """Soft mask (HEIGHT, WIDTH) uint8 of where a distance to an edge is positive."""
    return (255 * blur(step(inside, 0.08).astype(np.float32), 4)).astype(np.uint8)


def _generated(
    rng: np.random.Generator,
    footage: Footage,
    index: int,
    board: np.ndarray,
    *,
    mask: np.ndarray,
    side_px: int,
    jitter_px: float,
) -> np.ndarray:
    """What a generator with faces of side_px by side_px pixels makes of a board, with its mask, in a frame.

    (H, W, 4) uint8, slightly off as by a face tracker.
    """
    factor = side_px / (FACE_UNITS * UNIT_PX)
    small = cv2.resize(board, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    face = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    face[..., 3] = cv2.min(mask, face[..., 3])
    pose = footage.poses[index]
    right, down = rng.normal(0, jitter_px / 2, 2)
    roll, scale = pose.roll + rng.normal(0, 0.006), pose.scale * (1 + rng.normal(0, 0.006))
    pose = pose._replace(x_px=pose.x_px + right, y_px=pose.y_px + down, roll=roll, scale=scale)
    return in_frame(face, footage.head.depth, pose, footage.room.shape[:2])


def _colour_match(patch: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset (3,) that give the patch the frame's mean and spread of colour under the mask."""
    inside = patch[..., 3] > 128
    ours, theirs = patch[inside][:, :3].astype(np.float32), frame[inside].astype(np.float32)
    gain = np.clip(theirs.std(axis=0) / np.maximum(ours.std(axis=0), 1), 0.8, 1.2)
    return gain, theirs.mean(axis=0) - gain * ours.mean(axis=0)


def _blend(frame: np.ndarray, patch: np.ndarray, gain: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The patch's colours, corrected, over the frame under the patch's mask."""
    x, y, width, height = cv2.boundingRect(patch[..., 3])
    part = np.s_[y : y + height, x : x + width]
    alpha = patch[part][..., 3:].astype(np.float32) / 255
    mixed = frame[part] + (patch[part][..., :3] * gain + offset - frame[part]) * alpha
    blended = frame.copy()
    blended[part] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return blended
