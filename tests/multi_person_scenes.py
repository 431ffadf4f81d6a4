"""Rendered videos of several people, some of them fake, with the position of each one on every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepfake.corpora.demo.canvas import UNIT_PX, random_light
from deepfake.corpora.demo.corpus import person_of
from deepfake.corpora.demo.face import Person
from deepfake.corpora.demo.footage import (
    GRAIN_SPARE_PX,
    Footage,
    Pose,
    background,
    body,
    in_frame,
    lay_over,
    random_eyes,
    random_poses,
    random_speech,
    swapped_frames,
    torso_in_frame,
)
from deepfake.corpora.demo.heads import build_head, draw_face
from deepfake.faces.association import iou
from deepfake.faces.video_faces import VideoFaces
from deepfake.video.write import write_video

FACE_UNITS = (-0.72, -0.62, 0.72, 1.0)  # about what a face detector frames, around a head's centre
FPS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person in a shot.

    start, end: first and last position of the head's centre, in shares of width and height; it moves evenly.
    scale: of the head; 0.6 is a face of about 115 px. donor: the person whose face is swapped in, or None.
    """

    person: Person
    start: tuple[float, float]
    end: tuple[float, float]
    scale: float = 0.6
    donor: Person | None = None


class Shot(NamedTuple):
    """Frames (H, W, 3) uint8, and where the actors are on them.

    boxes: (F, A, 4) float32, each actor's face, xyxy in pixels. visible: (F, A) float32, the share of it that
    is not hidden.
    """

    frames: list[np.ndarray]
    boxes: np.ndarray
    visible: np.ndarray


def render_shot(
    seed: int, actors: Sequence[Actor], *, num_frames: int, width: int = 640, height: int = 360
) -> Shot:
    """A shot of these people, each in front of those before; seed draws room, light and small movements."""
    rng = np.random.default_rng(seed)
    light = random_light(rng)
    room = background(rng, height, width, light)
    spare = GRAIN_SPARE_PX
    grain = rng.normal(0, 2.5, (height + spare, width + spare, 3)).astype(np.float32)
    grain_at = rng.integers(0, spare, (num_frames, 2))
    frames = [to_uint8(room + grain_in_frame(grain, at, room)) for at in grain_at]
    boxes = np.zeros((num_frames, len(actors), 4), np.float32)
    visible = np.ones((num_frames, len(actors)), np.float32)
    for number, actor in enumerate(actors):
        own = np.random.default_rng([seed, number])
        path = actor_path(actor, num_frames, width, height)
        poses = random_poses(own, num_frames, FPS, centre=(0, 0), scale=actor.scale)
        poses = [p._replace(x_px=p.x_px + x, y_px=p.y_px + y) for p, (x, y) in zip(poses, path, strict=True)]
        footage = Footage(
            head=build_head(actor.person, light),
            room=room,
            torso=body(own, actor.person, light, actor.scale * UNIT_PX),
            poses=poses,
            mouths=random_speech(own, num_frames, FPS),
            eyes=random_eyes(own, num_frames, FPS),
            centre=(0, 0),
            scale=actor.scale,
            fps=FPS,
            grain=grain,
            grain_at=grain_at,
        )
        for index, (x, y) in enumerate(path.tolist()):
            frames[index], hidden = draw_actor(footage._replace(centre=(x, y)), index, frames[index])
            boxes[index, number] = face_box(poses[index])
            for other in range(number):
                visible[index, other] *= 1 - mean_in_box(hidden, boxes[index, other])
        if actor.donor is not None:
            frames = list(swapped_frames(own, footage, iter(frames), actor.donor))
    return Shot(frames, boxes, visible)


def join_shots(shots: Sequence[Shot], who: Sequence[Sequence[int]], num_people: int) -> Shot:
    """Shots one after the other, with hard cuts; who: the numbers of each shot's actors among all people."""
    frames = [frame for shot in shots for frame in shot.frames]
    boxes = np.zeros((len(frames), num_people, 4), np.float32)
    visible = np.zeros((len(frames), num_people), np.float32)
    first = 0
    for shot, people in zip(shots, who, strict=True):
        part = slice(first, first + len(shot.frames))
        boxes[part, list(people)], visible[part, list(people)] = shot.boxes, shot.visible
        first = part.stop
    return Shot(frames, boxes, visible)


def actor_path(actor: Actor, num_frames: int, width: int, height: int) -> np.ndarray:
    """Position of the centre of an actor's head on every frame, (F, 2) in pixels."""
    share = np.linspace(0, 1, num_frames)[:, None]
    path = np.array(actor.start) * (1 - share) + np.array(actor.end) * share
    return path * (width, height)


def draw_actor(footage: Footage, index: int, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A frame with an actor and sensor noise drawn on it, and the actor's alpha (H, W) in [0, 1]."""
    pose = footage.poses[index]
    torso = torso_in_frame(footage, pose)
    board = draw_face(footage.head, footage.mouths[index], footage.eyes[index])
    head = in_frame(board, footage.head.depth, pose, frame.shape[:2])
    picture = lay_over(lay_over(frame.astype(np.float32), torso), head)
    alpha = 1 - (1 - torso[..., 3] / np.float32(255)) * (1 - head[..., 3] / np.float32(255))
    # the background already has noise
    picture += grain_in_frame(footage.grain, footage.grain_at[index], frame) * alpha[..., None]
    return to_uint8(picture), alpha


def face_box(pose: Pose) -> np.ndarray:
    """Box (4,) around the face of an upright head, xyxy in pixels."""
    return np.array([pose.x_px, pose.y_px] * 2) + UNIT_PX * pose.scale * np.array(FACE_UNITS)


def mean_in_box(picture: np.ndarray, box: np.ndarray) -> float:
    """Mean of a picture (H, W) inside a box; 0 if the box is outside."""
    x0, y0, x1, y1 = np.rint(box).astype(int).clip(0)
    part = picture[y0:y1, x0:x1]
    return float(part.mean()) if part.size else 0.0


def grain_in_frame(grain: np.ndarray, at: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The noise of a frame (H, W, 3), cut out of a larger field."""
    height, width = frame.shape[:2]
    row, column = at
    return grain[row : row + height, column : column + width]


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Float picture -> uint8, rounded."""
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


# The scenes.


def demo_person(number: int) -> Person:
    """A person of the demo corpus with seed 0; numbers from 32 on are in its test split."""
    return person_of(0, number)


def standing_actor(number: int, x: float = 0.5, *, donor: Person | None = None) -> Actor:
    return Actor(person=demo_person(number), start=(x, 0.47), end=(x, 0.47), donor=donor)


def side_by_side() -> Shot:
    """Person 0 is fake, person 1 is not."""
    return render_shot(
        1, [standing_actor(33, 0.28, donor=demo_person(38)), standing_actor(36, 0.72)], num_frames=64
    )


def crossing() -> Shot:
    """Person 0, who is fake, walks from left to right behind person 1, who walks the other way."""
    fake = Actor(person=demo_person(33), start=(0.2, 0.45), end=(0.8, 0.47), donor=demo_person(38))
    real = Actor(person=demo_person(36), start=(0.8, 0.47), end=(0.2, 0.46))
    return render_shot(2, [fake, real], num_frames=88)


def cut_between_rooms() -> Shot:
    """Person 1 stands where person 0 stood, in another room, from frame 35 on."""
    shots = [
        render_shot(seed, [standing_actor(who)], num_frames=n)
        for seed, who, n in ((11, 33, 35), (12, 36, 29))
    ]
    return join_shots(shots, [[0], [1]], 2)


def cut_within_room() -> Shot:
    """Person 1 stands where person 0 stood, in the same room, from frame 35 on."""
    shots = [render_shot(11, [standing_actor(who)], num_frames=n) for who, n in ((33, 35), (36, 29))]
    return join_shots(shots, [[0], [1]], 2)


def away_and_back() -> Shot:
    """Person 0, person 1 in another room from frame 22 on, and again person 0 from 42 on."""
    first = render_shot(11, [standing_actor(33)], num_frames=44)
    other = render_shot(12, [standing_actor(36)], num_frames=20)
    parts = [Shot(first.frames[a:b], first.boxes[a:b], first.visible[a:b]) for a, b in ((0, 22), (22, 44))]
    return join_shots([parts[0], other, parts[1]], [[0], [1], [0]], 2)


def empty_room() -> Shot:
    """An empty room."""
    return render_shot(11, [], num_frames=16)


SCENES = {
    scene.__name__: scene
    for scene in (side_by_side, crossing, cut_between_rooms, cut_within_room, away_and_back, empty_room)
}


class SceneVideo(NamedTuple):
    """A video file, and where the actors are in it, see Shot."""

    path: Path
    boxes: np.ndarray
    visible: np.ndarray


def write_scene(name: str, folder: Path) -> SceneVideo:
    """Write a video of SCENES."""
    shot = SCENES[name]()
    path = folder / f"{name}.mp4"
    write_video(path, shot.frames, fps=FPS)
    return SceneVideo(path, shot.boxes, shot.visible)


class KeptTrack(NamedTuple):
    """The track with most detections of a person, its share of them, and their number."""

    track: int
    share: float
    detections: int


def kept_tracks(faces: VideoFaces, video: SceneVideo) -> list[KeptTrack]:
    """The track of each person; a detection belongs to the visible person that it overlaps most."""
    frames, tracks = faces.column("frame"), faces.column("track")
    overlap = np.stack(
        [iou(box[None], video.boxes[f])[0] for f, box in zip(frames, faces.boxes, strict=True)]
    )
    overlap *= video.visible[frames] > 0.25
    who = np.where(overlap.max(axis=1) > 0.3, overlap.argmax(axis=1), -1)
    found = []
    for number in range(video.boxes.shape[1]):
        counts = np.bincount(tracks[who == number])
        found.append(KeptTrack(int(counts.argmax()), counts.max() / counts.sum(), int(counts.sum())))
    return found
