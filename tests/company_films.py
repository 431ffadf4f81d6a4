"""Rendered films of several people, of whom it is known where each one is on every frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepfake.corpora.demo.company import FPS, Actor, Shot, film_shot, joined
from deepfake.corpora.demo.corpus import person_of
from deepfake.corpora.demo.people import Person
from deepfake.faces.track import iou
from deepfake.faces.video_faces import VideoFaces
from deepfake.video.write import write_video


def person(number: int) -> Person:
    """Somebody of the demo corpus with seed 0; from 32 on they are in its test split."""
    return person_of(0, number)


def standing(number: int, x: float = 0.5, *, donor: Person | None = None) -> Actor:
    return Actor(person=person(number), start=(x, 0.47), end=(x, 0.47), donor=donor)


def side_by_side() -> Shot:
    """Person 0 is fake, person 1 is not."""
    return film_shot(1, [standing(33, 0.28, donor=person(38)), standing(36, 0.72)], num_frames=64)


def crossing() -> Shot:
    """Person 0, who is fake, walks from left to right behind person 1, who walks the other way."""
    fake = Actor(person=person(33), start=(0.2, 0.45), end=(0.8, 0.47), donor=person(38))
    real = Actor(person=person(36), start=(0.8, 0.47), end=(0.2, 0.46))
    return film_shot(2, [fake, real], num_frames=88)


def cut_at_once() -> Shot:
    """Person 1 stands where person 0 stood, in another room, from frame 35 on."""
    shots = [film_shot(seed, [standing(who)], num_frames=n) for seed, who, n in ((11, 33, 35), (12, 36, 29))]
    return joined(shots, [[0], [1]], 2)


def cut_in_one_room() -> Shot:
    """The same in the same room."""
    shots = [film_shot(11, [standing(who)], num_frames=n) for who, n in ((33, 35), (36, 29))]
    return joined(shots, [[0], [1]], 2)


def away_and_back() -> Shot:
    """Person 0, person 1 in another room from frame 22 on, and again person 0 from 42 on."""
    first = film_shot(11, [standing(33)], num_frames=44)
    other = film_shot(12, [standing(36)], num_frames=20)
    parts = [Shot(first.frames[a:b], first.boxes[a:b], first.visible[a:b]) for a, b in ((0, 22), (22, 44))]
    return joined([parts[0], other, parts[1]], [[0], [1], [0]], 2)


def nobody() -> Shot:
    """An empty room."""
    return film_shot(11, [], num_frames=16)


MAKERS: tuple[Callable[[], Shot], ...] = (
    *(side_by_side, crossing, cut_at_once, cut_in_one_room),
    *(away_and_back, nobody),
)
FILMS = {maker.__name__: maker for maker in MAKERS}


class Film(NamedTuple):
    """A film's file and the truth about it, see Shot."""

    path: Path
    boxes: np.ndarray
    visible: np.ndarray


def render(name: str, folder: Path) -> Film:
    """Write a film of FILMS."""
    shot = FILMS[name]()
    path = folder / f"{name}.mp4"
    write_video(path, shot.frames, fps=FPS)
    return Film(path, shot.boxes, shot.visible)


class Kept(NamedTuple):
    """The track that most detections of a person are in, their share in it, and how many there are."""

    track: int
    share: float
    detections: int


def kept_tracks(faces: VideoFaces, film: Film) -> list[Kept]:
    """For each person; a detection is of whom it overlaps most, of those who are not all but hidden."""
    frames, tracks = faces.column("frame"), faces.column("track")
    overlap = np.stack([iou(box[None], film.boxes[f])[0] for f, box in zip(frames, faces.boxes, strict=True)])
    overlap *= film.visible[frames] > 0.25
    who = np.where(overlap.max(axis=1) > 0.3, overlap.argmax(axis=1), -1)
    found = []
    for number in range(film.boxes.shape[1]):
        counts = np.bincount(tracks[who == number])
        found.append(Kept(int(counts.argmax()), counts.max() / counts.sum(), int(counts.sum())))
    return found
