"""The faces of one file and a detector: its prob and verdict, its people, its telling faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from deepfake.data.dataset import to_tensor, window_crops
from deepfake.data.windows import eval_windows, scored_tracks, track_frames
from deepfake.faces.store import NO_FACE
from deepfake.faces.video_faces import VideoFaces
from deepfake.prediction.scorer import Scorer
from deepfake.records import VideoInfo
from deepfake.scoring.aggregate import WindowScores, score_tracks
from deepfake.scoring.decision import Decision
from deepfake.scoring.intervals import window_interval
from deepfake.scoring.prediction import FaceShot, Prediction, TrackPrediction, WindowPrediction
from deepfake.training.checkpoint import Recipe

ENOUGH_FRAMES = 16  # of a face, for its person to be scored, however long others were seen
WINDOWS_AT_ONCE = 4096  # whose frames' features are in memory together
BRIEF = "not scored, since seen on fewer than {} sampled frames: {}"
SHOTS = 4  # most and least suspicious faces that are kept


def judge(
    detector: Scorer, recipe: Recipe, file: str, faces: VideoFaces, facts: Mapping[str, Any] | None = None
) -> Prediction:
    """The prediction for one file's faces; facts: more of Prediction.about than the faces tell."""
    scores = score_faces(detector, recipe, faces)
    prob = recipe.decision.videos(scores).get(0)
    tracks = describe_tracks(scores, faces, recipe.decision)
    seen = [np.asarray(faces.column("frame")[faces.track_rows[track.track]]) for track in tracks]
    suspicious, innocent = telling_faces(tracks, faces)
    return Prediction(
        file=file,
        status="ok",
        prob=prob,
        verdict=recipe.decision.verdict(prob),
        reason=reason_of(tracks, faces),
        sampled_frames=len(faces.sampled),
        face_frames=len(np.unique(np.concatenate(seen))) if seen else 0,
        tracks=tracks,
        about={**(facts or {}), **described(faces.info)},
        suspicious=suspicious,
        innocent=innocent,
    )


def described(info: VideoInfo) -> dict[str, Any]:
    """What Prediction.about says of a video; a still image has one frame and no rate."""
    return {
        "width": info.width,
        "height": info.height,
        "frames": info.num_frames,
        "fps": info.fps,
        "duration_s": info.duration_s,
        "rotation_deg": info.rotation_deg,
        "codec": info.codec,
        "container": info.container,
    }


def reason_of(tracks: tuple[TrackPrediction, ...], faces: VideoFaces) -> str:
    """Why there is no verdict, or how many people it says nothing of."""
    if not tracks:
        return NO_FACE.format(len(faces.sampled))
    brief = len(faces.track_rows) - len(tracks)
    people = "1 person" if brief == 1 else f"{brief} people"
    return BRIEF.format(ENOUGH_FRAMES, people) if brief else ""


def score_faces(detector: Scorer, recipe: Recipe, faces: VideoFaces) -> WindowScores:
    """Logits of the windows that validation and test would score, and of people who were seen more briefly.

    Each frame's features are made once, but for those that two blocks of WINDOWS_AT_ONCE share.
    """
    tracks = scored_tracks(track_frames(faces), min_share=recipe.min_track_share, enough_frames=ENOUGH_FRAMES)
    windows = [
        window
        for track in tracks
        for window in eval_windows(
            track, detector.input, max_windows=recipe.eval_windows, hop=recipe.eval_hop
        )
    ]
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


def telling_faces(
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
        row = rows[track, window.start_frame]
        return FaceShot(
            track=track,
            frame=window.start_frame,
            time_s=window.start_s,
            prob=window.prob,
            jpeg=faces.jpegs([row])[0],
        )

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
