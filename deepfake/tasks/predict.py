"""Score any collection of videos and images with a checkpoint or with published weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from deepfake.config import to_plain
from deepfake.data.dataset import to_tensor, window_crops
from deepfake.data.windows import eval_windows, scored_tracks, track_frames
from deepfake.errors import SomeFailed, UserError
from deepfake.faces.jobs import faces_of, fitting
from deepfake.faces.store import NO_FACE
from deepfake.faces.video_faces import VideoFaces
from deepfake.models.detector import Detector
from deepfake.models.shared_frames import score_windows
from deepfake.parallel import Executor, Failure, progress_bar
from deepfake.reports.prediction_page import write_page
from deepfake.reports.tables import shown, write_csv
from deepfake.scoring.aggregate import WindowScores, score_tracks, score_videos, verdict
from deepfake.tasks.assemble import make_executor, pick_device
from deepfake.tasks.weights import chosen_detector
from deepfake.training.checkpoint import Recipe
from deepfake.video.images import IMAGE_SUFFIXES
from deepfake.video.probe import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

COLUMNS = ("file", "status", "prob", "verdict", "tracks", "frames", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPrediction:
    """One face over time: its prob and that of each window; times in seconds, box of the middle frame."""

    track: int
    prob: float
    frames: int
    start_s: float
    end_s: float
    box: list[float]
    windows: list[dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is said of one file. prob is None when no face was found or the file could not be read."""

    file: str
    status: str
    prob: float | None
    verdict: str
    reason: str
    sampled_frames: int = 0
    face_frames: int = 0
    tracks: list[TrackPrediction] = field(default_factory=list)
    portrait: bytes = b""  # JPEG of the face that decided

    def row(self) -> dict[str, Any]:
        """A row of COLUMNS; frames are those on which a scored face was seen."""
        return {
            "file": self.file,
            "status": self.status,
            "prob": "" if self.prob is None else f"{self.prob:.6f}",
            "verdict": self.verdict,
            "tracks": len(self.tracks),
            "frames": self.face_frames,
            "reason": self.reason,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the picture."""
        return {name: value for name, value in asdict(self).items() if name != "portrait"}


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Score every file, write the run folder; raises SomeFailed if files could not be read."""
    device = pick_device(cfg.parallel.device)
    detector, recipe = chosen_detector(cfg, device=device)
    config = to_plain(cfg)
    changes = {name: config[name] for name in ("track_rule", "threshold") if config[name] is not None}
    recipe = replace(recipe, **changes)
    files = collect_files(config["input"])
    found: dict[Path, Prediction] = {}
    with progress_bar() as progress:
        task = progress.add_task("scoring", total=len(files))
        for prediction in predict_files(detector, recipe, files, make_executor(cfg), device=device):
            found[Path(prediction.file)] = prediction
            progress.advance(task)
    predictions = [found[file] for file in files]
    write_csv(run_dir / "predictions.csv", COLUMNS, [prediction.row() for prediction in predictions])
    source = config["checkpoint"] or config["weights"]
    about = {"checkpoint": source, "threshold": recipe.threshold, "recipe": recipe.to_dict()}
    answer = {"format": 1, **about, "files": [prediction.to_dict() for prediction in predictions]}
    (run_dir / "predictions.json").write_text(json.dumps(answer, indent=1) + "\n")
    write_page(run_dir / "report.html", predictions, threshold=recipe.threshold, checkpoint=source)
    for prediction in predictions[:20]:
        prob = "  -  " if prediction.prob is None else f"{prediction.prob:.3f}"
        log.info("%s  %-12s  %s  %s", prob, prediction.verdict, prediction.file, prediction.reason)
    log.info("results in %s", shown(run_dir))
    if failed := sum(prediction.status == "error" for prediction in predictions):
        raise SomeFailed(
            f"{failed} of {len(files)} files could not be read: see {shown(run_dir / 'predictions.csv')}"
        )


def collect_files(given: str | Sequence[str]) -> list[Path]:
    """Files as given, folders replaced by the videos and images below them in order of name, each once."""
    paths = [Path(given)] if isinstance(given, str) else [Path(path) for path in given]
    if missing := [path for path in paths if not path.exists()]:
        raise UserError(f"input={missing[0]}: no such file or folder")
    known = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    files: dict[Path, None] = {}
    for path in paths:
        below = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in known)
        files |= dict.fromkeys(below if path.is_dir() else [path])
    if not files:
        raise UserError(f"input={given}: no video or image in it ({', '.join(sorted(known))})")
    return list(files)


def predict_files(
    detector: Detector, recipe: Recipe, files: Sequence[Path], executor: Executor, *, device: str
) -> Iterator[Prediction]:
    """A prediction for every file, as they become ready; the executor's workers extract the faces."""
    extract = partial(faces_of, settings=recipe.face_settings, device=device)
    given: dict[Path, list[str]] = {}  # by the name that a worker started in another folder finds it under
    for file in files:
        given.setdefault(file.absolute(), []).append(str(file))
    for outcome in fitting(executor, len(given)).map_unordered(extract, list(given)):
        for name in given[outcome.item]:
            if isinstance(outcome.result, Failure):
                yield Prediction(
                    file=name, status="error", prob=None, verdict="undetermined", reason=outcome.result.reason
                )
            else:
                yield predict_faces(detector, recipe, name, outcome.result)


def predict_faces(detector: Detector, recipe: Recipe, file: str, faces: VideoFaces) -> Prediction:
    """The prediction for one file's faces."""
    scores = score_faces(detector, recipe, faces)
    prob = score_videos(scores, rule=recipe.track_rule).get(0)
    tracks = describe_tracks(scores, faces)
    seen = [np.asarray(faces.column("frame")[faces.track_rows[track.track]]) for track in tracks]
    top = max(tracks, key=lambda track: track.prob, default=None)
    return Prediction(
        file=file,
        status="ok",
        prob=prob,
        verdict=verdict(prob, recipe.threshold),
        reason="" if tracks else NO_FACE.format(len(faces.sampled)),
        sampled_frames=len(faces.sampled),
        face_frames=len(np.unique(np.concatenate(seen))) if seen else 0,
        tracks=tracks,
        portrait=faces.jpegs([middle_row(faces, top.track)])[0] if top else b"",
    )


def score_faces(detector: Detector, recipe: Recipe, faces: VideoFaces) -> WindowScores:
    """Logits of the windows that validation and test would score; each frame's features are made once."""
    windows = [
        window
        for track in scored_tracks(track_frames(faces), min_share=recipe.min_track_share)
        for window in eval_windows(
            track, detector.input, max_windows=recipe.eval_windows, hop=recipe.eval_hop
        )
    ]
    if not windows:
        empty = np.zeros(0, np.int64)
        return WindowScores(empty, empty, empty, np.zeros(0))
    rows = np.array([window.rows for window in windows])
    logits = score_windows(detector, rows, lambda some: to_tensor(window_crops(faces, some, detector.input)))
    video, track, start = np.array([window[:3] for window in windows]).T
    return WindowScores(video, track, start, logits.double().cpu().numpy())


def describe_tracks(scores: WindowScores, faces: VideoFaces) -> list[TrackPrediction]:
    """Each scored track with its windows."""
    time_s = dict(zip(faces.column("frame").tolist(), faces.column("time_s").tolist(), strict=True))
    tracks = score_tracks(scores)
    described = []
    for track, prob in zip(tracks.track.tolist(), tracks.prob.tolist(), strict=True):
        rows, own = faces.track_rows[track], scores.track == track
        times = faces.column("time_s")[rows]
        described.append(
            TrackPrediction(
                track=track,
                prob=prob,
                frames=len(rows),
                start_s=float(times[0]),
                end_s=float(times[-1]),
                box=faces.table.column("box")[middle_row(faces, track)].as_py(),
                windows=[
                    {"start_frame": start, "start_s": time_s[start], "prob": window_prob}
                    for start, window_prob in zip(
                        scores.start[own].tolist(), scores.prob[own].tolist(), strict=True
                    )
                ],
            )
        )
    return described


def middle_row(faces: VideoFaces, track: int) -> int:
    """The row of a track's middle frame."""
    rows = faces.track_rows[track]
    return int(rows[len(rows) // 2])
