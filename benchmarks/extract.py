"""Target extract: faces of whole videos against the usual script, and against decoding every frame in order.

Three ways to go through the same videos take turns, so that a change of the machine's speed affects all
three. The usual script works in this process with all cores; ours (the job of scripts/extract.py, which
writes a store file) and decoding have worker processes of one thread each. A video's seconds of ours are
those in its worker while all workers are busy, divided by their number. Starting workers, imports, loading
detectors and the first use of everything are outside all times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import import_module
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from uuid import uuid4

import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image

from benchmarks.baseline import BATCH_FRAMES, baseline_crops, baseline_detector, largest
from benchmarks.bench import (
    Bench,
    BenchmarkResult,
    TimedResult,
    as_videos,
    check_memory_is_readable,
    medians,
    peak_memories_mb,
    timed_turns,
    wall_s,
)
from benchmarks.films import Film, render_missing
from deepfake.errors import DecodeError, UserError
from deepfake.faces.association import iou
from deepfake.faces.detector import MIN_KEY_SCORE
from deepfake.faces.extract import Extracted
from deepfake.faces.extract_corpus import Extraction
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel.pool import num_cores, progress_bar
from deepfake.records import Video
from deepfake.video.decode import decord_is_exact, read_frames
from deepfake.video.probe import open_video, scan


def measure(
    bench: Bench,
    *,
    videos: Sequence[Video],
    long_films: Sequence[Film],
    frames: int,
    repeats: int,
    num_workers: int | None,
) -> BenchmarkResult:
    """The figures extract/…, which BENCHMARKS.md explains.

    frames: sampled of a video, by both sides. long_films: a short and a long one, for the memory; none skips
    it. Raises UserError if frames are no whole number of clips.
    """
    settings = bench.settings
    if frames % settings.clip_frames:
        raise UserError(f"frames={frames}: must be a multiple of faces.clip_frames={settings.clip_frames}")
    if long_films:
        check_memory_is_readable()
    detector = baseline_detector(bench.device)
    few_clips = replace(settings, num_clips=frames // settings.clip_frames)
    comparison = SpeedComparison(
        videos=sorted(videos, key=lambda video: -video.path.stat().st_size),  # a small one ends last
        store=FaceStore(bench.folder / "race", few_clips),
        device=bench.device,
        detector=detector,
        frames=frames,
        workers=num_workers or num_cores(),
    )
    times = comparison.run(repeats)
    speed = compare(times, comparison.workers)
    main, kept = face_recall(comparison.store_of(0, 0), videos, detector)
    recall = main.share("extract/face_recall") | kept.share("extract/face_recall_any_score")
    missed = {"missed": main.missed, "missed_any_score": kept.missed, "faces": main.faces}
    figures = speed.figures | recall | measure_memory(bench, long_films)
    return BenchmarkResult(figures, speed.details | {"workers": comparison.workers} | missed)


def compare(times: Times, workers: int) -> BenchmarkResult:
    """Ratios of what the sides took, and shares of what our stages took."""
    baseline, turns = medians(times.baseline), medians(times.ours)
    ours = {key: seconds / workers for key, seconds in turns.items()}
    speedups = {key: baseline[key] / ours[key] for key in baseline}
    walls = zip(times.wall_ours, times.wall_decode, strict=True)
    total_s = sum(seconds for _, seconds in times.ours)
    figures = {
        "extract/speedup_over_baseline": median(speedups.values()),
        "extract/total_speedup": sum(baseline.values()) / sum(ours.values()),
        "extract/wall_over_decode": median(own / decoding for own, decoding in walls),
    }
    figures |= {
        f"extract/share_{stage}": seconds / total_s for stage, seconds in sorted(times.stages.items())
    }
    details: dict[str, Any] = {
        "videos": {
            key: {
                "baseline_s": baseline[key],
                "ours_s": ours[key],
                "speedup": speedups[key],
                "reader": times.readers[key],
            }
            for key in baseline
        },
        "copies": times.copies,
        "wall_ours_s": times.wall_ours,
        "wall_decode_s": times.wall_decode,
    }
    return BenchmarkResult(figures, details)


def measure_memory(bench: Bench, long_films: Sequence[Film]) -> dict[str, float]:
    """Peak memory on the short and on the long film, if they are given."""
    if not long_films:
        return {}
    render_missing(long_films, num_workers=1)
    store = FaceStore(bench.folder / "memory", bench.settings)
    videos = as_videos([film.path.absolute() for film in long_films], prefix="long")
    short, long = peak_memories_mb([Extraction(video, store, bench.device) for video in videos])
    return {
        "extract/peak_memory_mb": long,
        "extract/peak_memory_short_mb": short,
        "extract/memory_growth": long / short,
    }


def decode_by_decord(path: Path) -> int:
    """Decode all frames to arrays; returns how many there were."""
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    for _ in range(len(reader)):
        reader.next().asnumpy()
    return len(reader)


def decode_by_pyav(path: Path) -> int:
    """Decode all frames to arrays; returns how many there were."""
    container, stream = open_video(path)
    with container:
        return sum(frame.to_ndarray(format="rgb24").ndim == 3 for frame in container.decode(stream))


READERS: dict[str, Callable[[Path], int]] = {"decord": decode_by_decord, "pyav": decode_by_pyav}


def fastest_reader(path: Path) -> str:
    """The name in READERS of the one that decodes this video faster, here and now, of those that can at all.

    Raises DecodeError if none can.
    """
    seconds = {}
    for name, decode in READERS.items():
        if name != "decord" or decord_is_exact(scan(path)):
            start = perf_counter()
            if not decode(path):
                raise DecodeError(f"{path}: no frame in it")
            seconds[name] = perf_counter() - start
    return min(seconds, key=seconds.__getitem__)


MIN_IOU = 0.5


@dataclass
class Recall:
    """Of one kind of face: how many there are, and (video, frame) of those that no stored box matches."""

    faces: int = 0
    missed: list[tuple[str, int]] = field(default_factory=list)

    def add(self, video: str, main: Mapping[int, np.ndarray], faces: VideoFaces) -> None:
        """Count the boxes (1, 4) of a video's frames."""
        self.faces += len(main)
        self.missed += [(video, frame) for frame in unmatched(main, faces)]

    def share(self, name: str) -> dict[str, float]:
        """The share that was matched, under this name; of no faces there is none."""
        return {name: 1 - len(self.missed) / self.faces} if self.faces else {}


def face_recall(store: FaceStore, videos: Sequence[Video], detector: MTCNN) -> tuple[Recall, Recall]:
    """The baseline's main faces, and whatever it keeps, on the frames that the store sampled."""
    main, kept = Recall(), Recall()
    with progress_bar() as progress:
        task = progress.add_task("looking for missed faces", total=len(videos))
        for video in videos:
            faces = store.read(video.key)
            found = list(detected(video, faces, detector))
            for recall, min_score in (main, MIN_KEY_SCORE), (kept, 0.0):
                boxes = {frame: largest(boxes[scores >= min_score]) for frame, boxes, scores in found}
                recall.add(video.key, {frame: box for frame, box in boxes.items() if box is not None}, faces)
            progress.advance(task)
    return main, kept


def detected(
    video: Video, faces: VideoFaces, detector: MTCNN
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Frame, boxes (N, 4) and scores (N,) of the sampled frames on which the baseline finds anything."""
    frames = read_frames(video.path, np.array(faces.sampled, np.int64), scan(video.path))
    for start in range(0, len(faces.sampled), BATCH_FRAMES):
        numbers = faces.sampled[start : start + BATCH_FRAMES]
        found = detector.detect([Image.fromarray(next(frames)) for _ in numbers])
        for number, boxes, scores in zip(numbers, *found, strict=True):
            if boxes is not None:
                yield number, np.asarray(boxes, np.float32), np.asarray(scores, np.float32)


def unmatched(main: Mapping[int, np.ndarray], faces: VideoFaces) -> list[int]:
    """Frames whose main box (1, 4) overlaps no stored box of that frame by at least MIN_IOU."""
    frames, boxes = faces.column("frame"), faces.boxes
    return [frame for frame, box in main.items() if not (iou(box, boxes[frames == frame]) >= MIN_IOU).any()]


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
class SpeedComparison:
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
        baseline_crops(self.videos[-1].path, self.detector, num_frames=2)
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
            baseline_crops(video.path, self.detector, num_frames=self.frames)
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
        turns: list[TimedResult[Extracted | None]] = timed_turns(
            Extraction.run, jobs, num_workers=self.workers, warm_up=warm_up, extra=extra
        )
        times.wall_ours.append(wall_s(turns))
        for job, turn in zip(jobs, turns, strict=True):
            times.ours.append((job.video.key, turn.seconds))
            times.stages.update(turn.result.seconds if turn.result else {})

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
