import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import VideoFaces, encode_jpeg, to_table
from deepfake.records import VideoInfo
from deepfake.scoring.prediction import TrackPrediction, WindowPrediction

sys.path.insert(0, str(Path(__file__).parents[1] / "video"))  # for films.py, talkies.py

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """A run folder as jobs leave it: write_run("0_a", overrides=[…], losses=[…], test_auroc=…).

    scored: video, label and prob of predictions.csv; people: who is seen in them.
    """

    def write(
        name: str,
        *,
        overrides: tuple[str, ...] = (),
        config: dict[str, Any] | None = None,
        choices: dict[str, str] | None = None,
        status: dict[str, Any] | None = None,
        monitor: str = "val/loss",
        values: tuple[float | str, ...] = (),
        test_auroc: float | None = None,
        protocol: str = "aaaa",
        scored: Sequence[tuple[str, int, float]] = (),
        people: Sequence[str] = (),
    ) -> Path:
        run = tmp_path / name
        (run / ".hydra").mkdir(parents=True)
        asked = {"overrides": {"task": list(overrides)}, "runtime": {"choices": choices or {}}}
        OmegaConf.save({"hydra": asked}, run / ".hydra" / "hydra.yaml")
        OmegaConf.save({"monitor": monitor, **(config or {})}, run / ".hydra" / "config.yaml")
        if status:
            (run / "status.json").write_text(json.dumps(status))
        if values:
            (run / "logs" / "version_0").mkdir(parents=True)
            lines = [f"{e},{e},{v},{0.5 + e / 100}" for e, v in enumerate(values)]
            header = f"epoch,step,{monitor},val/video_auroc2"
            (run / "logs" / "version_0" / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
        if test_auroc is not None:
            about = {"protocol": "demo/official", "protocol_hash": protocol}
            metrics = {"test/video_auroc": test_auroc, "test/threshold": 0.5}
            (run / "metrics.json").write_text(json.dumps({**about, **metrics}))
        if scored:
            lines = [f"{v},{label},{prob!r},{'swap' if label else 'real'}" for v, label, prob in scored]
            (run / "predictions.csv").write_text("\n".join(["video,label,prob,method", *lines]) + "\n")
        if people:
            lines = [f"{v},{person};other" for (v, _, _), person in zip(scored, people, strict=True)]
            (run / "protocol.csv").write_text("\n".join(["video,identities", *lines]) + "\n")
        return run

    return write


@pytest.fixture
def make_faces() -> Callable[..., VideoFaces]:
    """Faces as extraction leaves them: make_faces({0: {frame: box}, 1: …}, time_s=[…]), sampled frames apart.

    Crops are grey squares of 40 px, lighter from track to track.
    """

    def make(
        tracks: Mapping[int, Mapping[int, tuple[float, float, float, float]]],
        *,
        time_s: Sequence[float],
        sampled: Sequence[int] = (),
    ) -> VideoFaces:
        settings = FaceSettings(margin=1.6)
        rows = [
            {
                "track": track,
                "clip": 0,
                "step": frame,
                "frame": frame,
                "time_s": time_s[frame],
                "box": box,
                "landmarks": [0.0] * 10,
                "score": 1.0,
                "detected": True,
                "square": [0, 0, 40],
                "jpeg": encode_jpeg(np.full((40, 40, 3), 60 + 40 * track, np.uint8), 95),
            }
            for track, boxes in tracks.items()
            for frame, box in boxes.items()
        ]
        info = VideoInfo(
            num_frames=len(time_s),
            fps=25,
            width=160,
            height=128,
            rotation_deg=0,
            codec="h264",
            container="mov",
        )
        return VideoFaces(to_table(rows), info, settings, tuple(sampled) or tuple(range(len(time_s))))

    return make


@pytest.fixture
def make_track() -> Callable[..., TrackPrediction]:
    """What is said of a person: make_track(0, {(first frame, last): prob}, spans=[…]), at 25 frames/s."""

    def make(
        track: int,
        windows: Mapping[tuple[int, int], float],
        *,
        spans: Sequence[tuple[float, float]] = (),
        **more: Any,
    ) -> TrackPrediction:
        ends = [frame for pair in windows for frame in pair]
        values: dict[str, Any] = {
            "track": track,
            "prob": float(np.mean(list(windows.values()))),
            "frames": len(windows),
            "start_s": min(ends) / 25,
            "end_s": max(ends) / 25,
            "spans": tuple(spans),
            "box": (0.0, 0.0, 10.0, 10.0),
            "windows": tuple(
                WindowPrediction(start_frame=a, end_frame=b, start_s=a / 25, end_s=b / 25, prob=prob)
                for (a, b), prob in windows.items()
            ),
        }
        return TrackPrediction(**values | more)

    return make
