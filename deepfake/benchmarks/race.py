"""Three ways to go through the same videos, in turns, so that a machine's mood hits all three.

The usual script works in this process with all cores; ours (the job of scripts/extract.py, which writes a
store file) and decoding have a number of worker processes of one thread each. Starting workers, imports,
loading detectors and the first use of everything are outside all times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import import_module
from math import ceil
from pathlib import Path
from time import perf_counter
from uuid import uuid4

from facenet_pytorch import MTCNN

from deepfake.benchmarks.baseline import usual_crops
from deepfake.benchmarks.bench import as_videos
from deepfake.benchmarks.decoding import READERS, fastest_reader
from deepfake.benchmarks.timing import Turn, timed_turns, wall_s
from deepfake.faces.jobs import Extraction, run_job
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.work import Done
from deepfake.parallel import progress_bar
from deepfake.records import Video


@dataclass
class Times:
    """Seconds of all rounds, and by which reader each video, told by its key, is decoded.

    baseline, ours: of each turn on a video. wall_ours, wall_decode: of each pass over the list, which is
    copies times the videos. stages: of ours by stage, summed over turns.
    """

    copies: int
    readers: dict[str, str]
    baseline: list[tuple[str, float]] = field(default_factory=list)
    ours: list[tuple[str, float]] = field(default_factory=list)
    wall_ours: list[float] = field(default_factory=list)
    wall_decode: list[float] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What is the same in all rounds.

    store: settings of ours, and the folder below which each pass fills a store of its own. frames: that the
    baseline takes of a video. workers: processes of ours and of decoding.
    """

    videos: Sequence[Video]
    store: FaceStore
    device: str
    detector: MTCNN
    frames: int
    workers: int

    def run(self, rounds: int) -> Times:
        """Time all three, this many rounds."""
        readers = {video.key: fastest_reader(video.path) for video in self.videos}
        times = Times(copies=ceil(2 * self.workers / len(self.videos)), readers=readers)
        usual_crops(self.videos[-1].path, self.detector, num_frames=2)
        with progress_bar() as progress:
            task = progress.add_task("extracting and decoding", total=3 * rounds)
            for number in range(rounds):
                for side in (self.run_baseline, partial(self.run_ours, number=number), self.run_decoding):
                    side(times)
                    progress.advance(task)
        return times

    def run_baseline(self, times: Times) -> None:
        """Time the usual script on each video once."""
        for video in self.videos:
            start = perf_counter()
            usual_crops(video.path, self.detector, num_frames=self.frames)
            times.baseline.append((video.key, perf_counter() - start))

    def run_ours(self, times: Times, *, number: int) -> None:
        """Time extraction into fresh stores."""
        jobs = [
            Extraction(video, self.store_of(number, copy), self.device)
            for copy in range(times.copies)
            for video in self.videos
        ]
        extra = [
            replace(job, store=self.store_of(number, times.copies + place // len(jobs)))
            for place, job in enumerate(jobs[: self.workers - 1])
        ]
        settings, device = self.store.settings, self.device
        warm_up = partial(extract_once, self.videos[-1].path, self.store.root / "warm_up", settings, device)
        turns: list[Turn[Done]] = timed_turns(
            run_job, jobs, num_workers=self.workers, warm_up=warm_up, extra=extra
        )
        times.wall_ours.append(wall_s(turns))
        for job, turn in zip(jobs, turns, strict=True):
            times.ours.append((job.video.key, turn.seconds))
            times.stages.update(turn.result.seconds)

    def run_decoding(self, times: Times) -> None:
        """Time the decoding of all frames."""
        items = [(times.readers[video.key], video.path) for video in self.videos] * times.copies
        warm_up = partial(import_module, "decord")
        turns = timed_turns(
            decode, items, num_workers=self.workers, warm_up=warm_up, extra=items[: self.workers - 1]
        )
        times.wall_decode.append(wall_s(turns))

    def store_of(self, number: int, copy: int) -> FaceStore:
        """Where a pass over the videos in a round puts its faces."""
        return replace(self.store, root=self.store.root / f"round{number}_{copy}")


def decode(item: tuple[str, Path]) -> int:
    """Decode all frames of a video with the named reader."""
    name, path = item
    return READERS[name](path)


@cache
def extract_once(path: Path, folder: Path, settings: FaceSettings, device: str) -> None:
    """Bring this process to its pace: all that an extraction needs is loaded and was used once."""
    (video,) = as_videos([path], prefix=uuid4().hex)
    Extraction(video, FaceStore(folder, replace(settings, num_clips=1)), device).run()
