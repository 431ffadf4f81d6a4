"""Films of several people in one room: who is where is known on every frame, and some may be fake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deepfake.corpora.demo.canvas import UNIT_PX
from deepfake.corpora.demo.expression import draw_face
from deepfake.corpora.demo.fakes import swapped_frames
from deepfake.corpora.demo.footage import GRAIN_SPARE_PX, Footage, in_frame, lay_over, torso_in_frame
from deepfake.corpora.demo.heads import build_head
from deepfake.corpora.demo.light import random_light
from deepfake.corpora.demo.motion import Motion, Pose, random_eyes, random_poses, random_speech
from deepfake.corpora.demo.people import Person
from deepfake.corpora.demo.scenes import background, body

FACE_UNITS = (-0.72, -0.62, 0.72, 1.0)  # about what a face detector frames, around a head's centre
FPS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody in a shot.

    start, end: where the head's centre is at first and at last, in shares of width and height; it moves
    evenly. scale: of the head; 0.6 is a face of about 115 px. donor: whose face is swapped in, if any is.
    """

    person: Person
    start: tuple[float, float]
    end: tuple[float, float]
    scale: float = 0.6
    donor: Person | None = None


class Shot(NamedTuple):
    """Frames (H, W, 3) uint8, and the truth about them.

    boxes: (F, A, 4) float32, each actor's face, xyxy in pixels. visible: (F, A) float32, the share of it that
    nobody hides.
    """

    frames: list[np.ndarray]
    boxes: np.ndarray
    visible: np.ndarray


def film_shot(
    seed: int, actors: Sequence[Actor], *, num_frames: int, width: int = 640, height: int = 360
) -> Shot:
    """A shot of these people, each in front of those before; room, light and small movements are seed's."""
    rng = np.random.default_rng(seed)
    light = random_light(rng)
    room = background(rng, height, width, light)
    spare = GRAIN_SPARE_PX
    grain = rng.normal(0, 2.5, (height + spare, width + spare, 3)).astype(np.float32)
    grain_at = rng.integers(0, spare, (num_frames, 2))
    frames = [to_bytes(room + grain_of(grain, at, room)) for at in grain_at]
    boxes = np.zeros((num_frames, len(actors), 4), np.float32)
    visible = np.ones((num_frames, len(actors)), np.float32)
    for number, actor in enumerate(actors):
        own = np.random.default_rng([seed, number])
        path = walk(actor, num_frames, width, height)
        poses = random_poses(own, num_frames, FPS, centre=(0, 0), scale=actor.scale)
        poses = [p._replace(x_px=p.x_px + x, y_px=p.y_px + y) for p, (x, y) in zip(poses, path, strict=True)]
        footage = Footage(
            head=build_head(actor.person, light),
            room=room,
            torso=body(own, actor.person, light, actor.scale * UNIT_PX),
            motion=Motion(poses, random_speech(own, num_frames, FPS), random_eyes(own, num_frames, FPS)),
            centre=(0, 0),
            scale=actor.scale,
            fps=FPS,
            grain=grain,
            grain_at=grain_at,
        )
        for index, (x, y) in enumerate(path.tolist()):
            frames[index], hidden = step_in(footage._replace(centre=(x, y)), index, frames[index])
            boxes[index, number] = face_box(poses[index])
            for other in range(number):
                visible[index, other] *= 1 - mean_inside(hidden, boxes[index, other])
        if actor.donor is not None:
            frames = list(swapped_frames(own, footage, iter(frames), actor.donor))
    return Shot(frames, boxes, visible)


def joined(shots: Sequence[Shot], who: Sequence[Sequence[int]], num_people: int) -> Shot:
    """Shots one after the other, cut hard; who: for each shot which person of all each of its actors is."""
    frames = [frame for shot in shots for frame in shot.frames]
    boxes = np.zeros((len(frames), num_people, 4), np.float32)
    visible = np.zeros((len(frames), num_people), np.float32)
    first = 0
    for shot, people in zip(shots, who, strict=True):
        part = slice(first, first + len(shot.frames))
        boxes[part, list(people)], visible[part, list(people)] = shot.boxes, shot.visible
        first = part.stop
    return Shot(frames, boxes, visible)


def walk(actor: Actor, num_frames: int, width: int, height: int) -> np.ndarray:
    """Where the middle of an actor's head is meant to be on every frame, (F, 2) in pixels."""
    share = np.linspace(0, 1, num_frames)[:, None]
    path = np.array(actor.start) * (1 - share) + np.array(actor.end) * share
    return path * (width, height)


def step_in(footage: Footage, index: int, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A frame with somebody laid over it, sensor noise and all, and their alpha (H, W) in [0, 1]."""
    pose = footage.motion.poses[index]
    torso = torso_in_frame(footage, pose)
    board = draw_face(footage.head, footage.motion.mouths[index], footage.motion.eyes[index])
    head = in_frame(board, footage.head.depth, pose, frame.shape[:2])
    picture = lay_over(lay_over(frame.astype(np.float32), torso), head)
    alpha = 1 - (1 - torso[..., 3] / np.float32(255)) * (1 - head[..., 3] / np.float32(255))
    # what was there before has its noise already
    picture += grain_of(footage.grain, footage.grain_at[index], frame) * alpha[..., None]
    return to_bytes(picture), alpha


def face_box(pose: Pose) -> np.ndarray:
    """Box (4,) around the face of an upright head, xyxy in pixels."""
    return np.array([pose.x_px, pose.y_px] * 2) + UNIT_PX * pose.scale * np.array(FACE_UNITS)


def mean_inside(picture: np.ndarray, box: np.ndarray) -> float:
    """Mean of a picture (H, W) inside a box, 0 where that lies outside."""
    x0, y0, x1, y1 = np.rint(box).astype(int).clip(0)
    part = picture[y0:y1, x0:x1]
    return float(part.mean()) if part.size else 0.0


def grain_of(grain: np.ndarray, at: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The noise of a frame (H, W, 3), cut out of a larger field."""
    height, width = frame.shape[:2]
    row, column = at
    return grain[row : row + height, column : column + width]


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Float picture -> uint8, rounded."""
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)
