"""Target predict: prediction with faces=quick against the usual script and the same network, end to end.

Both go from files to probs: the usual script cuts the largest face out of evenly spaced frames, all of which
go through the network at once, and a video's prob is the mean over its windows; ours is predict_video, all
that scripts/predict.py does with a file but for its reports. The usual script is one process with all cores;
ours has a worker process of one thread for each core, as prediction of many files has, and a video's seconds
are those in its worker while all are busy, divided by their number. Starting processes, imports, loading of
detectors and networks and the first use of everything are outside the times of both.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from facenet_pytorch import MTCNN
from torch import Tensor

from benchmarks.baseline import baseline_crops, baseline_detector
from benchmarks.bench import Bench, BenchmarkResult, TimedResult, medians, timed_turns
from deepfake.errors import UserError
from deepfake.models.detector import Detector
from deepfake.parallel.pool import num_cores, progress_bar
from deepfake.prediction.detector import LoadedDetector, choose_crops, load_detector
from deepfake.prediction.predictor import predict_video
from deepfake.records import Video
from deepfake.scoring.prediction import Prediction
from deepfake.training.checkpoint import Checkpoint

TURNS = 8  # files of a worker in a round, at least: it has hundreds in use, and its first ones are slower


@dataclass
class Times:
    """Of all rounds, by the video's key: seconds of each turn; probs, None without a face."""

    baseline: list[tuple[str, float]] = field(default_factory=list)
    ours: list[tuple[str, float]] = field(default_factory=list)
    alone: list[tuple[str, float]] = field(default_factory=list)
    baseline_prob: dict[str, float | None] = field(default_factory=dict)
    ours_prob: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A file to be predicted by a worker, which finds the pickled detector at a path."""

    video: Video
    detector: Path

    def run(self) -> Prediction:
        """What predict.py says of it."""
        return predict_video(self.video.path, unpickle_detector(self.detector))


def measure(
    bench: Bench,
    *,
    videos: Sequence[Video],
    detector: Detector,
    checkpoint: str | None,
    quick: Mapping[str, Any],
    frames: int,
    repeats: int,
    num_workers: int | None,
) -> BenchmarkResult:
    """The figures predict/…, which BENCHMARKS.md explains.

    checkpoint: of the network; None takes an untrained one, detector. quick: values of faces=quick,
    which bear on the checkpoint's as in prediction. frames: that the usual script takes of a video.
    Raises UserError for an exported file, since the usual script has PyTorch.
    """
    loaded = choose_detector(bench, detector, checkpoint)
    loaded = replace(loaded, checkpoint=choose_crops(loaded.checkpoint, loaded.detector.input, quick))
    network = loaded.detector
    if not isinstance(network, Detector):
        raise UserError(f"checkpoint={checkpoint}: the usual script has PyTorch; give a checkpoint")
    shared = (bench.folder / "detector.pickle").absolute()
    shared.write_bytes(pickle.dumps(loaded))
    workers = num_workers or num_cores()
    face_detector = baseline_detector(bench.device, image_size=network.input.size)
    times, jobs = Times(), [Job(video=video, detector=shared) for video in videos]
    score_by_baseline(videos[-1].path, face_detector, network, num_frames=2)
    jobs[-1].run()
    with progress_bar() as progress:
        task = progress.add_task("predicting", total=3 * repeats)
        for _ in range(repeats):
            for side in (
                partial(run_baseline, videos, face_detector, network, frames),
                partial(run_ours, jobs, workers),
                partial(run_one_process, jobs),
            ):
                side(times)
                progress.advance(task)
    return compare(times, workers, loaded)


def run_baseline(
    videos: Sequence[Video], face_detector: MTCNN, network: Detector, frames: int, times: Times
) -> None:
    """Time the usual script on each video once."""
    for video in videos:
        start = perf_counter()
        times.baseline_prob[video.key] = score_by_baseline(
            video.path, face_detector, network, num_frames=frames
        )
        times.baseline.append((video.key, perf_counter() - start))


def run_ours(jobs: Sequence[Job], workers: int, times: Times) -> None:
    """Time prediction in worker processes, all of which are busy, each with several files."""
    many = list(jobs) * ceil(TURNS * workers / len(jobs))
    turns: list[TimedResult[Prediction]] = timed_turns(
        Job.run, many, num_workers=workers, warm_up=partial(warm_up, jobs[-1]), extra=many[: workers - 1]
    )
    for job, turn in zip(many, turns, strict=True):
        times.ours.append((job.video.key, turn.seconds / workers))
        times.ours_prob[job.video.key] = turn.result.prob


def run_one_process(jobs: Sequence[Job], times: Times) -> None:
    """Time prediction in this process, one file after the other."""
    for job in jobs:
        start = perf_counter()
        job.run()
        times.alone.append((job.video.key, perf_counter() - start))


def score_by_baseline(
    path: Path, face_detector: MTCNN, network: Detector, *, num_frames: int
) -> float | None:
    """The mean prob over windows of the crops that the usual script makes, None without any.

    Crops that are too few for the last window repeat their last one.
    """
    crops = baseline_crops(path, face_detector, num_frames=num_frames)
    if not crops:
        return None
    window = network.input.window
    crops += [crops[-1]] * (-len(crops) % window)
    frames = torch.stack(crops).to(torch.uint8).unflatten(0, (-1, window))
    with torch.inference_mode():
        logits: Tensor = network(frames.to(network.device))
    return float(logits.double().sigmoid().mean())


def compare(times: Times, workers: int, loaded: LoadedDetector) -> BenchmarkResult:
    """Videos a minute of the sides, and how far their probs are apart."""
    sides = {name: medians(getattr(times, name)) for name in ("baseline", "ours", "alone")}
    minute = {name: 60 * len(own) / sum(own.values()) for name, own in sides.items()}
    decision = loaded.checkpoint.decision
    pairs = {key: (prob, times.ours_prob[key]) for key, prob in times.baseline_prob.items()}
    both = [abs(one - other) for one, other in pairs.values() if one is not None and other is not None]
    figures = {
        "predict/speedup_over_baseline": minute["ours"] / minute["baseline"],
        "predict/speedup_one_process": minute["alone"] / minute["baseline"],
        "predict/videos_per_minute": minute["ours"],
        "predict/baseline_videos_per_minute": minute["baseline"],
    }
    details: dict[str, Any] = {
        "videos": {
            key: {f"{name}_s": own[key] for name, own in sides.items()}
            | {"speedup": sides["baseline"][key] / sides["ours"][key]}
            | {"baseline_prob": pairs[key][0], "ours_prob": pairs[key][1]}
            for key in pairs
        },
        "largest_prob_difference": max(both, default=None),
        "same_verdict": sum(
            decision.verdict(one) == decision.verdict(other) for one, other in pairs.values()
        ),
        "workers": workers,
        "faces": loaded.checkpoint.faces.to_dict(),
        "network": type(getattr(loaded.detector, "backbone", None)).__name__,
    }
    return BenchmarkResult(figures, details)


def choose_detector(bench: Bench, detector: Detector, checkpoint: str | None) -> LoadedDetector:
    """The detector of a checkpoint, if there is one."""
    if checkpoint is not None:
        return load_detector(checkpoint, device=bench.device)
    untrained = Checkpoint(net={}, faces=bench.settings)
    return LoadedDetector(detector.eval().to(bench.device), untrained, Path("untrained"), bench.device)


@cache
def unpickle_detector(path: Path) -> LoadedDetector:
    """The pickled detector, loaded once in a process."""
    loaded: LoadedDetector = pickle.loads(path.read_bytes())
    return loaded


@cache
def warm_up(job: Job) -> None:
    """Load all that a prediction needs and use it once, so that the next one is timed at full speed."""
    job.run()
