"""Target metrics: what it costs to measure very many scores, with intervals."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.bench import Bench, BenchmarkResult, check_memory_is_readable, peak_memory_mb
from deepfake.scoring.aggregate import WindowScores, score_frames
from deepfake.scoring.bootstrap import Resampling, intervals
from deepfake.scoring.decision import Decision
from deepfake.scoring.evaluation import About, evaluate

METHODS = ("real", "swap", "reenact", "attributes", "whole face")


def measure(bench: Bench, *, num_videos: int, frames: int, resamples: int, repeats: int) -> BenchmarkResult:
    """The figures metrics/…, which BENCHMARKS.md explains.

    frames: scored of each video. The evaluation runs in a fresh process, whose memory is told.
    """
    check_memory_is_readable()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        seconds, peak_mb, figures = apart.submit(time_evaluation, num_videos, frames, resamples).result()
    scores, split = random_scores(num_videos, frames)
    ours, theirs = compare_with_torchmetrics(scores, split, resamples=resamples, repeats=repeats)
    return BenchmarkResult(
        {
            "metrics/seconds": seconds,
            "metrics/peak_memory_mb": peak_mb,
            "metrics/speedup_over_torchmetrics": median(t / o for o, t in zip(ours, theirs, strict=True)),
        },
        {"frames": len(scores), "videos": num_videos, "ours_s": ours, "torchmetrics_s": theirs, **figures},
    )


def random_scores(num_videos: int, frames: int) -> tuple[WindowScores, dict[int, About]]:
    """Normal logits of single frames, fakes higher, with a share of their own for each video."""
    rng = np.random.default_rng(0)
    video, start = np.repeat(np.arange(num_videos), frames), np.tile(np.arange(frames), num_videos)
    which = np.arange(num_videos) % len(METHODS)
    logit = rng.normal(2.0 * (which > 0) - 1, 1.0)[video] + rng.normal(0, 2, len(video))
    split = {
        number: About(key=str(number), label=int(method > 0), corpus="made up", method=METHODS[method])
        for number, method in enumerate(which.tolist())
    }
    return WindowScores(video, np.zeros_like(video), start, logit, start[:, None]), split


def time_evaluation(num_videos: int, frames: int, resamples: int) -> tuple[float, float, dict[str, Any]]:
    """Seconds of the whole evaluation, the peak memory of this process, and what was measured."""
    scores, split = random_scores(num_videos, frames)
    start = perf_counter()
    found = evaluate(scores, split, Decision(), how=Resampling(num=resamples))
    return perf_counter() - start, peak_memory_mb(), found.flat()


def compare_with_torchmetrics(
    scores: WindowScores, split: dict[int, About], *, resamples: int, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds a resample of all frames: every rate by ours, AUROC and AP alone by torchmetrics."""
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    unit, prob = score_frames(scores)
    label = np.array([about.label for about in split.values()])[unit]
    frames_of = np.split(np.arange(len(prob)), np.flatnonzero(np.diff(unit)) + 1)
    probs, labels = torch.from_numpy(prob), torch.from_numpy(label)
    ours, theirs = [], []
    for seed in range(repeats):
        start = perf_counter()
        intervals(prob, label, unit, threshold=0.5, how=Resampling(num=resamples, seed=seed))
        ours.append((perf_counter() - start) / resamples)
        start = perf_counter()
        drawn = np.random.default_rng(seed).integers(len(frames_of), size=len(frames_of))
        rows = torch.from_numpy(np.concatenate([frames_of[video] for video in drawn]))
        binary_auroc(probs[rows], labels[rows])
        binary_average_precision(probs[rows], labels[rows])
        theirs.append(perf_counter() - start)
    return ours, theirs
