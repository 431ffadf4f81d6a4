"""From files to predictions: read the faces of a file, score its windows, join them to a verdict."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepfake.data.crops import to_tensor, window_crops
from deepfake.data.windows import scored_windows, track_frames
from deepfake.errors import DecodeError, UserError, error_line
from deepfake.faces.extract import Extracted, extract_faces
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import NO_FACE, VideoFaces, read_faces
from deepfake.io import disk_is_full, storable
from deepfake.prediction.detector import ENOUGH_FRAMES, LoadedDetector, Scorer, sha256
from deepfake.scoring.aggregate import WindowScores, score_tracks
from deepfake.scoring.bootstrap import window_interval
from deepfake.scoring.decision import Decision
from deepfake.scoring.prediction import FaceShot, Prediction, TrackPrediction, WindowPrediction
from deepfake.training.checkpoint import Checkpoint
from deepfake.video.probe import LIMITS, Limits, check_file

if TYPE_CHECKING:  # the library does without worker processes
    from deepfake.parallel.pool import Executor
    from deepfake.prediction.inputs import InputFile

WINDOWS_AT_ONCE = 4096  # whose frames' features are in memory together
BRIEF = "not scored, since seen on fewer than {} sampled frames: {}"
SHOTS = 4  # most and least suspicious faces that are kept


def predict_faces(
    detector: Scorer,
    checkpoint: Checkpoint,
    file: str,
    faces: VideoFaces,
    facts: Mapping[str, Any] | None = None,
) -> Prediction:
    """The prediction for one file's faces; facts: more of Prediction.about than the faces tell."""
    info, scores = faces.info, score_faces(detector, checkpoint, faces)
    prob = checkpoint.decision.videos(scores).get(0)
    tracks = describe_tracks(scores, faces, checkpoint.decision)
    seen = [np.asarray(faces.column("frame")[faces.track_rows[track.track]]) for track in tracks]
    suspicious, least_suspicious = suspicious_faces(tracks, faces)
    return Prediction(
        file=file,
        status="ok",
        prob=prob,
        verdict=checkpoint.decision.verdict(prob),
        reason=reason_of(tracks, faces),
        sampled_frames=len(faces.sampled),
        face_frames=len(np.unique(np.concatenate(seen))) if seen else 0,
        tracks=tracks,
        about={
            **(facts or {}),
            "width": info.width,
            "height": info.height,
            "frames": info.num_frames,
            "fps": info.fps,
            "duration_s": info.duration_s,
            "rotation_deg": info.rotation_deg,
            "codec": info.codec,
            "container": info.container,
        },
        suspicious=suspicious,
        least_suspicious=least_suspicious,
    )


def reason_of(tracks: tuple[TrackPrediction, ...], faces: VideoFaces) -> str:
    """Why there is no verdict, or how many people it says nothing of."""
    if not tracks:
        return NO_FACE.format(len(faces.sampled))
    brief = len(faces.track_rows) - len(tracks)
    people = "1 person" if brief == 1 else f"{brief} people"
    return BRIEF.format(ENOUGH_FRAMES, people) if brief else ""


def score_faces(detector: Scorer, checkpoint: Checkpoint, faces: VideoFaces) -> WindowScores:
    """Logits of the windows that validation and test would score, and of people who were seen more briefly.

    Each frame's features are made once, but for those that two blocks of WINDOWS_AT_ONCE share.
    """
    windows = scored_windows(
        track_frames(faces), detector.input, checkpoint.evaluation, enough_frames=ENOUGH_FRAMES
    )
    if not windows:
        return WindowScores.empty()
    rows = np.array([window.rows for window in windows])
    logits = torch.cat(
        [
            detector.score(block, lambda some: to_tensor(window_crops(faces, some, detector.input)))
            for block in np.array_split(rows, -(-len(rows) // WINDOWS_AT_ONCE))
        ]
    )
    video, track, start = np.array([window[:3] for window in windows]).T
    return WindowScores(video, track, start, logits.double().cpu().numpy(), faces.column("frame")[rows])


def describe_tracks(
    scores: WindowScores, faces: VideoFaces, decision: Decision
) -> tuple[TrackPrediction, ...]:
    """Each scored track with its windows."""
    time_s = dict(zip(faces.column("frame").tolist(), faces.column("time_s").tolist(), strict=True))
    tracks = score_tracks(scores, rule=decision.window_rule)
    window_prob = decision.stated(scores.prob)
    described = []
    for track, prob in zip(tracks.track.tolist(), decision.stated(tracks.prob).tolist(), strict=True):
        rows, own = faces.track_rows[track], scores.track == track
        times = faces.column("time_s")[rows]
        low, high = interval(scores, own, decision)
        described.append(
            TrackPrediction(
                track=track,
                prob=prob,
                low=low,
                high=high,
                frames=len(rows),
                start_s=float(times[0]),
                end_s=float(times[-1]),
                spans=spans(faces, rows),
                box=tuple(faces.table.column("box")[middle_row(faces, track)].as_py()),
                windows=tuple(
                    WindowPrediction(
                        start_frame=frames[0],
                        end_frame=frames[-1],
                        start_s=time_s[frames[0]],
                        end_s=time_s[frames[-1]],
                        prob=prob,
                        logit=logit,
                    )
                    for frames, prob, logit in zip(
                        scores.frame[own].tolist(),
                        window_prob[own].tolist(),
                        scores.logit[own].tolist(),
                        strict=True,
                    )
                ),
            )
        )
    return tuple(described)


def interval(
    scores: WindowScores, own: np.ndarray, decision: Decision
) -> tuple[float, float] | tuple[None, None]:
    """Low and high of a track's stated prob; own (W,) bool: which windows are the track's."""
    first, last = scores.frame[own, 0], scores.frame[own, -1]
    # the most windows in a row, this one among them, that start before this one ends
    overlap = int((np.searchsorted(first, last, side="right") - np.arange(len(first))).max())
    found = window_interval(scores.logit[own], decision.window_rule, overlap=overlap)
    if found is None:
        return None, None
    low, high = decision.stated(found).tolist()
    return low, high


def spans(faces: VideoFaces, rows: np.ndarray) -> tuple[tuple[float, float], ...]:
    """First and last second of each stretch of a track (rows): sampled frames without it part stretches.

    As in tracking, max_gap_frames of them do not; of what lies between sampled frames nothing is known.
    """
    place = np.searchsorted(faces.sampled, faces.column("frame")[rows])
    time_s = faces.column("time_s")[rows]
    breaks = np.flatnonzero(np.diff(place) > 1 + faces.settings.max_gap_frames)
    first, last = time_s[np.append(0, breaks + 1)], time_s[np.append(breaks, len(rows) - 1)]
    return tuple(zip(first.tolist(), last.tolist(), strict=True))


def suspicious_faces(
    tracks: tuple[TrackPrediction, ...], faces: VideoFaces, count: int = SHOTS
) -> tuple[tuple[FaceShot, ...], tuple[FaceShot, ...]]:
    """The faces of the most and of the least suspicious windows: of the track of the highest prob first."""
    if not tracks:
        return (), ()
    top = max(tracks, key=lambda track: track.prob)
    rows = {
        (track, frame): row
        for row, (track, frame) in enumerate(
            zip(faces.column("track").tolist(), faces.column("frame").tolist(), strict=True)
        )
    }

    def shot(track: int, window: WindowPrediction) -> FaceShot:
        (jpeg,) = faces.jpegs([rows[track, window.start_frame]])
        frame, time_s = window.start_frame, window.start_s
        return FaceShot(track=track, frame=frame, time_s=time_s, prob=window.prob, jpeg=jpeg)

    windows = [(track.track, window) for track in tracks for window in track.windows]
    rising = sorted(windows, key=lambda pair: pair[1].prob)
    falling = sorted(windows, key=lambda pair: (pair[0] != top.track, -pair[1].prob))
    return (
        tuple(shot(*pair) for pair in falling[:count]),
        tuple(shot(*pair) for pair in rising[:count]),
    )


def middle_row(faces: VideoFaces, track: int) -> int:
    """The row of a track's middle frame."""
    rows = faces.track_rows[track]
    return int(rows[len(rows) // 2])


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and time of change of a file, by which another one under its name is noticed, and its SHA-256."""

    bytes: int
    mtime_ns: int
    sha256: str

    def facts(self) -> dict[str, Any]:
        """As they stand in Prediction.about."""
        modified = datetime.fromtimestamp(self.mtime_ns / 1e9, UTC).isoformat(timespec="microseconds")
        return {"sha256": self.sha256, "bytes": self.bytes, "modified": modified}


@dataclass(frozen=True, slots=True)
class FileRead:
    """The file of the faces, or the reason why there is none; a stamp, unless reading failed at once."""

    faces: Path | None = None
    reason: str = ""
    stamp: Stamp | None = None


def read_file(
    path: Path,
    settings: FaceSettings,
    *,
    folder: Path,
    device: str,
    limits: Limits = LIMITS,
    extract: Callable[..., Extracted] = extract_faces,
) -> FileRead:
    """Extract a file's faces into folder and stamp it; what is wrong with the file is a reason, and no error.

    The hash is taken after extraction, which leaves the file in the system's cache, and is that of what was
    extracted: a file that changes meanwhile is not scored. Raises UserError for wrong settings, OSError where
    folder has no room.
    """
    faces, reason = folder / f"{uuid.uuid4().hex}.arrow", ""
    try:
        check_file(path, limits)
        before = os.stat(path)
        try:
            extract(path, faces, settings=settings, device=device, limits=limits)
        except Exception as err:
            faces.unlink(missing_ok=True)
            if isinstance(err, UserError) or disk_is_full(err):
                raise
            # decoders raise many kinds of errors, and a bad file must not affect the others
            reason = error_line(err)
        stamp = Stamp(before.st_size, before.st_mtime_ns, sha256(path))
        after = os.stat(path)
    except (OSError, DecodeError) as err:
        if disk_is_full(err):
            raise
        return FileRead(reason=error_line(err))
    if (after.st_size, after.st_mtime_ns, after.st_ino) != (stamp.bytes, stamp.mtime_ns, before.st_ino):
        faces.unlink(missing_ok=True)
        return FileRead(reason=f"{path}: it changed while it was read")
    return FileRead(None if reason else faces, reason, stamp)


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """A file that is done: what is said of it, its faces if it could be read, its stamp if it has one."""

    found: InputFile
    prediction: Prediction
    faces: VideoFaces | None = None
    stamp: Stamp | None = None


def predict_video(path: str | Path, detector: LoadedDetector) -> Prediction:
    """What a detector says of one video or still image: the same as scripts/predict.py.

    detector: of load_detector. Raises UserError where there is no such file, DecodeError where it cannot be
    read. Without a face in it prob is None and the verdict "undetermined".
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    with TemporaryDirectory(prefix="deepfake_", ignore_cleanup_errors=True) as folder:
        settings = detector.checkpoint.faces
        read = read_file(Path(path), settings, folder=Path(folder), device=detector.device)
        if read.faces is None:
            raise DecodeError(read.reason)
        return prediction_of(detector, str(path), read, read_faces(read.faces))


def predict_files(
    detector: LoadedDetector,
    files: Sequence[InputFile],
    executor: Executor,
    *,
    device: str,
    folder: Path,
    limits: Limits = LIMITS,
    read: Callable[..., FileRead] = read_file,
) -> Generator[ScoredFile]:
    """Every file as it becomes ready; the executor's workers extract the faces, on device.

    folder: where the workers write the faces; all of them must see it. The faces of a file are deleted when
    the next one is asked for. Raises what the executor raises, UserError of a worker, and its error if the
    disk of folder is full; everything else that goes wrong with a file is its reason.
    """
    from deepfake.parallel.pool import Failure

    by_path = {found.path.absolute(): found for found in files if not found.trouble}
    for found in files:
        if found.trouble:
            yield ScoredFile(found, prediction_of(detector, found.name, FileRead(reason=found.trouble), None))
    read_one = partial(
        read,
        settings=detector.checkpoint.faces,
        folder=folder.absolute(),  # a worker may have been started in another folder
        device=device,
        limits=limits,
    )
    for outcome in executor.map_unordered(read_one, list(by_path)):
        found, result = by_path[outcome.item], outcome.result
        if isinstance(result, Failure):
            if isinstance(result.error, UserError) or disk_is_full(result.error):
                raise result.error
            result = FileRead(reason=result.reason)
        faces = None if result.faces is None else read_faces(result.faces)
        yield ScoredFile(found, prediction_of(detector, found.name, result, faces), faces, result.stamp)
        del faces
        if result.faces is not None:
            result.faces.unlink(missing_ok=True)


def prediction_of(
    detector: LoadedDetector, name: str, read: FileRead, faces: VideoFaces | None
) -> Prediction:
    """The prediction for a file that was read, or the reason why it could not be read."""
    facts = read.stamp.facts() if read.stamp else {}
    if faces is not None:
        return predict_faces(detector.detector, detector.checkpoint, name, faces, facts)
    return Prediction(
        file=name,
        status="error",
        prob=None,
        verdict="undetermined",
        reason=storable(read.reason),
        about=facts,
    )
