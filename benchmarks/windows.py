"""Target windows: what it costs to score all windows of a track rather than each frame once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.bench import Bench, BenchmarkResult
from benchmarks.store import extract_store
from deepfake.data.crops import to_tensor, window_crops
from deepfake.data.windows import eval_windows, spread, track_frames
from deepfake.errors import UserError
from deepfake.faces.video_faces import VideoFaces
from deepfake.models.detector import CPU_FRAMES, GPU_FRAMES, Detector, Read, score_windows
from deepfake.parallel.pool import Executor, progress_bar
from deepfake.records import InputSpec, Video

MAIN = "meso_lstm"  # its backbone is the cheapest, so that windows weigh most

Seconds = dict[str, list[float]]
"""Of each side in each round."""


def measure(
    bench: Bench,
    *,
    videos: Sequence[Video],
    detectors: Mapping[str, Detector],
    track_frames: int,
    naive_windows: int,
    repeats: int,
    num_workers: int | None,
) -> BenchmarkResult:
    """The figures windows/…, which BENCHMARKS.md explains.

    track_frames: adjacent frames of the first video. naive_windows: of all, so many go through the whole
    detector.
    """
    settings = replace(bench.settings, num_clips=1, clip_frames=track_frames)
    executor = Executor(num_workers=num_workers)
    faces = extract_store(bench, "store", settings, videos[:1], executor).read(videos[0].key)
    figures: dict[str, float] = {}
    details: dict[str, Any] = {"video": str(videos[0].path)}
    for name, detector in detectors.items():
        own, details[name] = compare(
            detector.eval().to(bench.device), faces, naive_windows=naive_windows, repeats=repeats
        )
        suffix = "" if name == MAIN else f"_{name}"
        figures |= {f"windows/{figure}{suffix}": value for figure, value in own.items()}
    return BenchmarkResult(figures, details)


def compare(
    detector: Detector, faces: VideoFaces, *, naive_windows: int, repeats: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures and details of one detector."""
    windows = dense_windows(faces, detector.input)
    frames = np.unique(windows)
    chosen = spread(len(windows), naive_windows)

    def stored(rows: np.ndarray) -> Tensor:
        return to_tensor(window_crops(faces, rows, detector.input))

    crops = stored(frames)
    warm_up(detector, crops[:GPU_FRAMES])

    def held(rows: np.ndarray) -> Tensor:
        return crops[torch.from_numpy(np.searchsorted(frames, rows))]

    sides: dict[str, Callable[[], Tensor]] = {
        "dense": partial(score_windows, detector, windows, held),
        "frames": partial(score_windows, detector, frames[:, None], held),
        "naive": partial(score_naively, detector, windows[chosen], held),
        "dense_with_decoding": partial(score_windows, detector, windows, stored),
        "frames_with_decoding": partial(score_windows, detector, frames[:, None], stored),
    }
    logits, seconds = take_turns(sides, repeats=repeats)
    dense, naive = logits["dense"], logits["naive"]
    each = len(windows) / len(chosen)
    figures = {
        "dense_over_frames": median(ratios(seconds, "dense", "frames")),
        "naive_over_dense": median(ratio * each for ratio in ratios(seconds, "naive", "dense")),
        "max_difference": float((dense[torch.from_numpy(chosen)] - naive).abs().max()),
    }
    details = {
        "window": detector.input.window,
        "frames": len(frames),
        "windows": {"dense": len(windows), "naive": len(chosen)},
        "dense_over_frames": ratios(seconds, "dense", "frames"),
        "dense_over_frames_with_decoding": ratios(seconds, "dense_with_decoding", "frames_with_decoding"),
        "logits": {"min": float(dense.min()), "max": float(dense.max())},
        "seconds": seconds,
    }
    return figures, details


def warm_up(detector: Detector, frames: Tensor) -> None:
    """Give every BatchNorm the statistics of some frames (N, 3, H, W) uint8.

    Hardly anything gets through an untrained network without them, and all windows would score alike.
    """
    norms = [part for part in detector.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        detector.features(frames.to(detector.mean.device))
    detector.eval()


def dense_windows(faces: VideoFaces, spec: InputSpec) -> np.ndarray:
    """Rows of all windows of the longest track, one frame apart, (W, T) int64.

    Raises UserError if the face is nowhere seen on as many adjacent frames as a window has.
    """
    longest = max(track_frames(faces), key=len)
    rows = np.array([window.rows for window in eval_windows(longest, spec, max_windows=None, hop=1)])
    if len(np.unique(rows[0])) < spec.window:
        raise UserError(
            f"track_frames={len(faces.sampled)}: no face is seen on {spec.window} adjacent frames of the "
            "first video"
        )
    return rows


def score_naively(detector: Detector, windows: np.ndarray, read: Read) -> Tensor:
    """Logits (W,) of windows (W, T), each of which goes through the whole detector."""
    num_windows, window = windows.shape
    at_once = max(CPU_FRAMES if detector.device.type == "cpu" else GPU_FRAMES, window)
    chunks = np.array_split(windows, -(-num_windows * window // at_once))
    with torch.inference_mode():
        return torch.cat(
            [
                detector(read(chunk.reshape(-1)).unflatten(0, (len(chunk), window)).to(detector.mean.device))
                for chunk in chunks
            ]
        )


def take_turns(
    sides: Mapping[str, Callable[[], Tensor]], *, repeats: int
) -> tuple[dict[str, Tensor], Seconds]:
    """What each side says, and its seconds in each round; a first round is not counted."""
    logits: dict[str, Tensor] = {}
    seconds: Seconds = {name: [] for name in sides}
    with progress_bar() as progress:
        task = progress.add_task("scoring windows", total=(repeats + 1) * len(sides))
        for _ in range(repeats + 1):
            for name, side in sides.items():
                start = perf_counter()
                logits[name] = side().cpu()  # which waits for a GPU
                seconds[name].append(perf_counter() - start)
                progress.advance(task)
    return logits, {name: own[1:] for name, own in seconds.items()}


def ratios(seconds: Seconds, side: str, other: str) -> list[float]:
    """One side's seconds over another's, round by round."""
    return [own / others for own, others in zip(seconds[side], seconds[other], strict=True)]
