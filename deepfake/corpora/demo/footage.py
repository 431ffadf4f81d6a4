"""A clip before anybody tampered with it: one person talks in one room, seen by one camera."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import CENTRE_PX, HEIGHT, UNIT_PX, WIDTH
from deepfake.corpora.demo.expression import draw_face
from deepfake.corpora.demo.heads import Head, build_head
from deepfake.corpora.demo.light import Light, random_light
from deepfake.corpora.demo.motion import Motion, Pose, random_eyes, random_poses, random_speech
from deepfake.corpora.demo.people import Person
from deepfake.corpora.demo.scenes import CHIN_UNITS, background, body

SIZES = ((360, 360), (400, 336), (336, 400), (384, 352))  # height, width in pixels
GRAIN_SPARE_PX = 97
BODY_SWAY = 0.35  # how far shoulders follow the head


class Footage(NamedTuple):
    """All that a clip is made of.

    room: (H, W, 3) float32. torso: (h, w, 4) uint8 premultiplied. grain: sensor noise, larger than a frame by
    GRAIN_SPARE_PX, of which each frame sees the part that starts at its grain_at (row, column).
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
    """A new clip of a person; everything but the face's identity is drawn from rng."""
    height, width = SIZES[rng.integers(len(SIZES))]
    fps = (25, 30)[rng.integers(2)]
    num_frames = round(fps * rng.uniform(1.6, 2.4))
    light: Light = random_light(rng)
    spare = GRAIN_SPARE_PX
    scale = rng.uniform(0.66, 0.84) * min(height, width) / 352
    centre = (width / 2 + rng.uniform(-0.07, 0.07) * width, height * rng.uniform(0.44, 0.5))
    motion = Motion(
        random_poses(rng, num_frames, fps, centre=centre, scale=scale),
        random_speech(rng, num_frames, fps),
        random_eyes(rng, num_frames, fps),
    )
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
    """One frame as the camera saves it, (H, W, 3) uint8, sensor noise included."""
    pose = footage.motion.poses[index]
    picture = lay_over(footage.room, torso_in_frame(footage, pose))
    board = draw_face(footage.head, footage.motion.mouths[index], footage.motion.eyes[index])
    picture = lay_over(picture, in_frame(board, footage.head.depth, pose, picture.shape[:2]))
    height, width = picture.shape[:2]
    row, column = footage.grain_at[index]
    picture += footage.grain[row : row + height, column : column + width]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def in_frame(board: np.ndarray, depth: np.ndarray, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """A drawing board (HEIGHT, WIDTH, C) as the camera sees it in a pose, (H, W, C)."""
    columns = np.arange(WIDTH, dtype=np.float32)[None] - np.float32(UNIT_PX * pose.turn) * depth
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None] - np.float32(UNIT_PX * pose.nod) * depth
    turned = cv2.remap(board, columns, rows, cv2.INTER_LINEAR)
    return cv2.warpAffine(turned, placement(pose), size[::-1], flags=cv2.INTER_AREA)


def placement(pose: Pose) -> np.ndarray:
    """Affine map (2, 3) from pixels of the board to pixels of the frame."""
    cos, sin = pose.scale * np.cos(pose.roll), pose.scale * np.sin(pose.roll)
    turn = np.array([[cos, -sin], [sin, cos]])
    move = np.array((pose.x_px, pose.y_px)) - turn @ np.array(CENTRE_PX)
    return np.column_stack([turn, move]).astype(np.float32)


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
