"""A film scene at any size: one of the demo corpus' talking heads before a textured wall, camera in hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from deepfake.corpora.demo.canvas import UNIT_PX, noise
from deepfake.corpora.demo.footage import Footage, film_frame
from deepfake.corpora.demo.heads import build_head
from deepfake.corpora.demo.light import random_light
from deepfake.corpora.demo.motion import Motion, Pose, drift, random_eyes, random_poses, random_speech
from deepfake.corpora.demo.people import random_person
from deepfake.corpora.demo.scenes import background, body

FPS = 30
DEMO_PX = 352  # frame height that the demo corpus' movements are made for
GRAIN = 4.0  # of 255, a camera in a dim room: some 2 to 3 Mbit/s at 1080p
SPARE_PX = 61
PAN_SHARE = 0.02  # of the frame's height that the camera sways to each side
WALK_SHARE = 0.06  # of the frame's width that the head moves to each side


class Scene(NamedTuple):
    """footage: its room is larger than a frame; frame t sees what starts at pan[t] (row, column)."""

    footage: Footage
    pan: np.ndarray
    width: int
    height: int


def random_scene(seed: int, *, width: int, height: int, num_frames: int, grain: float = GRAIN) -> Scene:
    """A scene whose pixels depend on its arguments alone; the face is 0.27 to 0.4 of the height."""
    rng = np.random.default_rng([seed, 1080])
    person = random_person(rng, tone=seed * 0.618034 % 1)
    light = random_light(rng)
    grow = height / DEMO_PX
    scale = (0.47, 0.53, 0.59, 0.65)[seed % 4]
    reach = round(height * PAN_SHARE)
    room = background(rng, height + 2 * reach, width + 2 * reach, light)
    for grain_px, amount in ((2, 5), (9, 7), (40, 8)):
        room += (amount * noise(rng, room.shape[0], room.shape[1], grain_px))[..., None].astype(np.float32)
    sway = np.stack([drift(rng, num_frames, FPS, seconds) for seconds in (4, 5)], axis=1)
    return Scene(
        Footage(
            head=build_head(person, light),
            room=room,
            torso=body(rng, person, light, grow * scale * UNIT_PX),
            motion=Motion(
                _poses(rng, num_frames, width, height, scale),
                random_speech(rng, num_frames, FPS),
                random_eyes(rng, num_frames, FPS),
            ),
            centre=(width / 2, height * 0.48),
            scale=grow * scale,
            fps=FPS,
            grain=rng.normal(0, grain, (height + SPARE_PX, width + SPARE_PX, 3)).astype(np.float32),
            grain_at=rng.integers(0, SPARE_PX, (num_frames, 2)),
        ),
        np.clip(reach * (1 + sway / 2), 0, 2 * reach).round().astype(int),
        width,
        height,
    )


def film(scene: Scene) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of a scene."""
    room = scene.footage.room
    for index, (y, x) in enumerate(scene.pan.tolist()):
        seen = room[y : y + scene.height, x : x + scene.width]
        yield film_frame(scene.footage._replace(room=seen), index)


def _poses(rng: np.random.Generator, num_frames: int, width: int, height: int, scale: float) -> list[Pose]:
    """The demo corpus' poses, enlarged, of a head that also moves to and fro."""
    grow = height / DEMO_PX
    centre = (width / grow / 2, DEMO_PX * 0.48)
    walk = WALK_SHARE * width * np.clip(drift(rng, num_frames, FPS, 6), -2, 2)
    poses = random_poses(rng, num_frames, FPS, centre=centre, scale=scale)
    return [
        pose._replace(x_px=grow * pose.x_px + step, y_px=grow * pose.y_px, scale=grow * pose.scale)
        for pose, step in zip(poses, walk, strict=True)
    ]
