"""Films of a talking head of the demo corpus before a wall, camera in hand, at any size."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.bench import as_videos
from deepfake.corpora.demo.canvas import UNIT_PX, noise, random_light
from deepfake.corpora.demo.face import Person
from deepfake.corpora.demo.footage import (
    Footage,
    Pose,
    background,
    body,
    drift,
    film_frame,
    random_eyes,
    random_poses,
    random_speech,
)
from deepfake.corpora.demo.heads import build_head
from deepfake.errors import UserError
from deepfake.parallel.pool import Executor, Failure, progress_bar
from deepfake.records import Video
from deepfake.video.probe import VIDEO_SUFFIXES
from deepfake.video.write import write_video

log = logging.getLogger(__name__)

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
    person = Person(rng, tone=seed * 0.618034 % 1)
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
            poses=_poses(rng, num_frames, width, height, scale),
            mouths=random_speech(rng, num_frames, FPS),
            eyes=random_eyes(rng, num_frames, FPS),
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


VERSION = 1  # of the pictures: a change of how anything is drawn raises it
CYCLE_FRAMES = 30
CYCLE_REDUCTION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One film to render; width and height in pixels are multiples of eight.

    cheap: for films whose length alone matters, a few small frames forth and back, enlarged, quickly encoded.
    """

    folder: Path
    width: int
    height: int
    num_frames: int
    seed: int = 0
    cheap: bool = False

    @property
    def path(self) -> Path:
        """Where it is or would be."""
        kind = "cheap" if self.cheap else "film"
        name = f"{kind}{self.seed}_{self.width}x{self.height}_{self.num_frames}_v{VERSION}.mp4"
        return self.folder / name

    def render(self) -> None:
        """Draw and encode it: H.264, crf 23, a key frame every 250."""
        write_video(self.path, self.frames(), fps=FPS, preset="ultrafast" if self.cheap else "medium")

    def frames(self) -> Iterator[np.ndarray]:
        """Its pictures, (H, W, 3) uint8, as they are before encoding."""
        if not self.cheap:
            yield from film(self.scene(reduction=1, num_frames=self.num_frames, grain=GRAIN))
            return
        small = list(film(self.scene(reduction=CYCLE_REDUCTION, num_frames=CYCLE_FRAMES, grain=0)))
        cycle = [*small, *small[-2:0:-1]]
        for index in range(self.num_frames):
            yield cv2.resize(cycle[index % len(cycle)], (self.width, self.height))

    def scene(self, *, reduction: int, num_frames: int, grain: float) -> Scene:
        """What is filmed, its sides reduced by a factor."""
        width, height = self.width // reduction, self.height // reduction
        return random_scene(self.seed, width=width, height=height, num_frames=num_frames, grain=grain)


def render_missing(films: Sequence[Film], *, num_workers: int | None) -> None:
    """Render those that are not on the disk yet, on all cores, with progress."""
    missing = [film for film in films if not film.path.is_file()]
    if not missing:
        return
    with progress_bar() as progress:
        task = progress.add_task("rendering films", total=len(missing))
        for outcome in Executor(num_workers=num_workers).map_unordered(Film.render, missing):
            if isinstance(outcome.result, Failure):
                raise outcome.result.error
            progress.advance(task)
    log.info("rendered %d films into %s", len(missing), missing[0].folder)


def benchmark_videos(
    *,
    folder: str,
    num_films: int,
    size: Sequence[int],
    num_frames: int,
    num_workers: int | None = None,
    input: str | Sequence[str] | None = None,
) -> list[Video]:
    """The films, size (width, height) in pixels, and the user's videos: a file, a folder or a list of these.

    Raises UserError if there is no such file, or no video at all.
    """
    given = as_videos(find_videos(input), prefix="input")
    films = [
        Film(folder=Path(folder), width=size[0], height=size[1], num_frames=num_frames, seed=seed)
        for seed in range(num_films)
    ]
    render_missing(films, num_workers=num_workers)
    videos = as_videos([film.path.absolute() for film in films], prefix="film") + given
    if not videos:
        raise UserError("num_films=0: give videos with input=…, or let films be rendered")
    return videos


def long_films(*, folder: str, size: Sequence[int], num_frames: Sequence[int], wanted: bool) -> list[Film]:
    """Films of these lengths whose pictures are cheap, not rendered yet; none if they are not wanted."""
    return [
        Film(folder=Path(folder), width=size[0], height=size[1], num_frames=length, cheap=True)
        for length in num_frames
        if wanted
    ]


def find_videos(given: str | Sequence[str] | None) -> list[Path]:
    """Videos that input=… names, absolute, each once; folders with all that is below them."""
    entries = [] if given is None else [given] if isinstance(given, str) else list(given)
    paths: dict[Path, None] = {}
    for entry in map(Path, entries):
        if not entry.exists():
            raise UserError(f"input={entry}: no such file or folder")
        inside = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        found = [path.absolute() for path in inside if path.suffix.lower() in VIDEO_SUFFIXES]
        if not found:
            raise UserError(f"input={entry}: no video in it")
        paths |= dict.fromkeys(found)
    return list(paths)
