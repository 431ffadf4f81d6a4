"""Target extract: faces of whole videos against the usual script, sequential decoding and its detections.

A video's seconds of ours are those in its worker while all workers are busy, divided by their number: what
the video costs of the whole machine. race.py says how both sides are timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from deepfake.benchmarks.baseline import usual_detector
from deepfake.benchmarks.bench import Bench, Measured, as_videos
from deepfake.benchmarks.films import Film, render_missing
from deepfake.benchmarks.memory import check_memory_is_told, peak_memories_mb
from deepfake.benchmarks.race import Race, Times
from deepfake.benchmarks.recall import face_recall
from deepfake.benchmarks.timing import medians
from deepfake.errors import UserError
from deepfake.faces.jobs import Extraction
from deepfake.faces.store import FaceStore
from deepfake.parallel import num_cores
from deepfake.records import Video


def measure(
    bench: Bench,
    *,
    videos: Sequence[Video],
    long_films: Sequence[Film],
    frames: int,
    repeats: int,
    num_workers: int | None,
) -> Measured:
    """The figures extract/…, which BENCHMARKS.md explains.

    frames: sampled of a video, by both sides. long_films: a short and a long one, for the memory; none skips
    it. Raises UserError if frames are no whole number of clips.
    """
    settings = bench.settings
    if frames % settings.clip_frames:
        raise UserError(f"frames={frames}: must be a multiple of faces.clip_frames={settings.clip_frames}")
    if long_films:
        check_memory_is_told()
    detector = usual_detector(bench.device)
    few_clips = replace(settings, num_clips=frames // settings.clip_frames)
    race = Race(
        videos=sorted(videos, key=lambda video: -video.path.stat().st_size),  # a small one ends last
        store=FaceStore(bench.folder / "race", few_clips),
        device=bench.device,
        detector=detector,
        frames=frames,
        workers=num_workers or num_cores(),
    )
    times = race.run(repeats)
    speed = compare(times, race.workers)
    main, kept = face_recall(race.store_of(0, 0), videos, detector)
    recall = main.share("extract/face_recall") | kept.share("extract/face_recall_any_score")
    missed = {"missed": main.missed, "missed_any_score": kept.missed, "faces": main.faces}
    figures = speed.figures | recall | measure_memory(bench, long_films)
    return Measured(figures, speed.details | {"workers": race.workers} | missed)


def compare(times: Times, workers: int) -> Measured:
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
    return Measured(figures, details)


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
