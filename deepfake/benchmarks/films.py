"""The films of the benchmarks, rendered when they are first needed and kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepfake.benchmarks.bench import as_videos
from deepfake.benchmarks.scene import FPS, GRAIN, Scene, film, random_scene
from deepfake.errors import UserError
from deepfake.parallel import Executor, Failure, progress_bar
from deepfake.records import Video
from deepfake.video.probe import VIDEO_SUFFIXES
from deepfake.video.write import write_video

log = logging.getLogger(__name__)

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
    given = as_videos(listed(input), prefix="input")
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


def listed(given: str | Sequence[str] | None) -> list[Path]:
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
