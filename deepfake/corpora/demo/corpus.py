"""The demo corpus, rendered on first use, so that a fresh machine can train and test without a download."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock

from deepfake.corpora.corpus import Corpus
from deepfake.corpora.demo.face import Person
from deepfake.corpora.demo.footage import random_footage, real_frames, reenacted_frames, swapped_frames
from deepfake.errors import UserError
from deepfake.io import remove_stale, write_text
from deepfake.parallel.pool import Executor, Failure, progress_bar
from deepfake.records import FAKE, REAL, Video
from deepfake.video.write import write_video

log = logging.getLogger(__name__)

NOTE = "corpus.json"  # parameters of the corpus
VERSION = 1  # raised whenever a change alters the rendered pictures
MIN_IDENTITIES = 6
TONE_STEP = 0.618034  # golden ratio: consecutive identities differ in skin tone, every split has all tones
PERSON, FOOTAGE, SWAP, REENACT = range(4)  # streams of random numbers


def demo_corpus(
    root: str | Path, *, num_identities: int = 40, seed: int = 0, num_workers: int | None = None
) -> Corpus:
    """All videos; those that are missing below root are rendered first.

    Each identity has two real clips; one is also face-swapped with an identity of the same split, the other
    one reenacted. The official protocol is disjoint in identities, about 60 : 20 : 20. The videos' pixels and
    names depend on seed and num_identities alone. Raises UserError if root holds a demo corpus rendered with
    other values.
    """
    root = Path(root)
    if num_identities < MIN_IDENTITIES:
        raise UserError(f"data.num_identities={num_identities}: three splits need at least {MIN_IDENTITIES}")
    made = {"version": VERSION, "seed": seed, "num_identities": num_identities}
    clips = [Clip(root, seed, num_identities, who, clip) for who in range(num_identities) for clip in (0, 1)]
    if (root / NOTE).is_file():
        _check(root, made)
    if missing := _missing(clips):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".rendering.lock"):  # of several jobs at once only the first renders
            _check(root, made)
            remove_stale(root)
            if missing := _missing(clips):
                _render(missing, num_workers, root)
    if len(missing) < len(clips):
        log.info("reusing %d demo videos in %s", 2 * (len(clips) - len(missing)), root)
    split_of = {video: clip.split() for clip in clips for video in clip.videos()}
    official = {video.key: split for video, split in split_of.items()}
    return Corpus(name=_name(seed), videos=tuple(split_of), splits={"official": official})


def _check(root: Path, made: dict[str, int]) -> None:
    """Write the corpus's parameters to root; raise UserError if there are other ones."""
    note = root / NOTE
    if not note.is_file():
        write_text(note, json.dumps(made) + "\n")
    elif (found := json.loads(note.read_text())) != made:
        raise UserError(
            f"data.root={root} holds a demo corpus rendered with {found}, not {made}: "
            "choose another data.root and data.store, or delete the folder"
        )


def _missing(clips: list[Clip]) -> list[Clip]:
    return [clip for clip in clips if not all(video.path.is_file() for video in clip.videos())]


def _render(clips: list[Clip], num_workers: int | None, root: Path) -> None:
    with progress_bar() as progress:
        task = progress.add_task("rendering demo videos", total=2 * len(clips))
        for outcome in Executor(num_workers=num_workers).map_unordered(Clip.render, clips):
            if isinstance(outcome.result, Failure):
                raise outcome.result.error
            progress.advance(task, 2)
    log.info("rendered %d demo videos into %s", 2 * len(clips), root)


@dataclass(frozen=True, slots=True)
class Clip:
    """One piece of footage, written twice: real, and manipulated (clip 0: swap, clip 1: reenact)."""

    root: Path
    seed: int
    num_identities: int
    identity: int
    clip: int

    def split(self, identity: int | None = None) -> str:
        """Split of an identity, by default of the clip's own."""
        held_out = max(2, self.num_identities // 5)
        left = self.num_identities - (self.identity if identity is None else identity)
        return "test" if left <= held_out else "val" if left <= 2 * held_out else "train"

    @property
    def donor(self) -> int:
        """The identity whose face is swapped in: of the same split, and of a similar skin tone."""
        others = [
            i for i in range(self.num_identities) if self.split(i) == self.split() and i != self.identity
        ]
        others.sort(key=lambda other: abs(_tone(other) - _tone(self.identity)))
        return others[self._rng(SWAP).integers(min(3, len(others)))]

    def videos(self) -> tuple[Video, Video]:
        """The real video and the fake one."""
        method, corpus = ("swap", "reenact")[self.clip], _name(self.seed)
        people = [f"{who:02}" for who in (self.identity, *([self.donor] if method == "swap" else []))]
        keys = f"real/id{people[0]}_{self.clip}", f"{method}/id{'_id'.join(people)}_{self.clip}"
        real = Video(
            key=keys[0],
            path=self.root / f"{keys[0]}.mp4",
            corpus=corpus,
            label=REAL,
            method="real",
            identities=(f"{corpus}:{people[0]}",),
            clip=f"{corpus}:{people[0]}_{self.clip}",
        )
        identities = tuple(f"{corpus}:{who}" for who in people)
        fake = replace(real, key=keys[1], path=self.root / f"{keys[1]}.mp4", label=FAKE, method=method)
        return real, replace(fake, identities=identities, partner=real.key)

    def render(self) -> None:
        """Render the clip and write both files."""
        cv2.setNumThreads(1)
        real, fake = self.videos()
        footage = random_footage(self._rng(FOOTAGE), person_of(self.seed, self.identity))
        frames = list(real_frames(footage))
        manipulated = (
            swapped_frames(self._rng(SWAP), footage, iter(frames), person_of(self.seed, self.donor))
            if self.clip == 0
            else reenacted_frames(self._rng(REENACT), footage, iter(frames))
        )
        write_video(real.path, frames, fps=footage.fps)
        write_video(fake.path, manipulated, fps=footage.fps)

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, self.identity, self.clip])


def person_of(seed: int, identity: int) -> Person:
    """The person with this number in all demo corpora of a seed."""
    return Person(np.random.default_rng([seed, PERSON, identity]), tone=_tone(identity))


def _tone(identity: int) -> float:
    return identity * TONE_STEP % 1


def _name(seed: int) -> str:
    """Name of the corpus, and the prefix of its identities."""
    return f"demo_seed{seed}" if seed else "demo"
