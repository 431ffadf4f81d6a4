"""What is said of one file: its verdict, the people in it, when, how sure; plain values, to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPrediction:
    """Frames of one face that were judged together: first and last index and second in the video, prob.

    logit: the detector's own number that prob was made of; None where it is not known.
    """

    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    prob: float
    logit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPrediction:
    """One person: one face over time, in seconds of the video.

    prob: of fake, in [0, 1], joined from the windows'. low, high: 95 % interval of it over the windows, see
    scoring.intervals.window_interval; None where that has nothing to go by. frames: on which the face was
    seen. spans: first and last second of each stretch of video in which it was. box: xyxy in pixels, of the
    middle frame.
    """

    track: int
    prob: float
    low: float | None = None
    high: float | None = None
    frames: int
    start_s: float
    end_s: float
    spans: tuple[tuple[float, float], ...] = ()
    box: tuple[float, float, float, float]
    windows: tuple[WindowPrediction, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrackPrediction:
        """Inverse of asdict, also of one that went through JSON."""
        windows = tuple(WindowPrediction(**window) for window in values["windows"])
        spans = tuple((start, end) for start, end in values["spans"])
        return cls(**{**values, "windows": windows, "spans": spans, "box": tuple(values["box"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceShot:
    """A crop that stands for a window, as JPEG, with that window's prob; heat: the same under a heat map."""

    track: int
    frame: int
    time_s: float
    prob: float
    jpeg: bytes
    heat: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is said of one file.

    status: "ok" or "error". prob: of fake, in [0, 1]; None when no face was found or the file could not be
    read. verdict: fake, real or undetermined. reason: why there is none. about: facts of the file for the
    chain of custody, such as sha256, bytes, codec: see reports/predictions.schema.json. suspicious,
    least_suspicious: the faces of the highest and of the lowest probs, the most telling one first; the first
    of suspicious is of the track that decided.
    """

    file: str
    status: str
    prob: float | None
    verdict: str
    reason: str
    sampled_frames: int = 0
    face_frames: int = 0
    tracks: tuple[TrackPrediction, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    suspicious: tuple[FaceShot, ...] = ()
    least_suspicious: tuple[FaceShot, ...] = ()

    @property
    def portrait(self) -> bytes:
        """JPEG of the face that decided, empty if there is none."""
        return self.suspicious[0].jpeg if self.suspicious else b""

    def row(self) -> dict[str, Any]:
        """A row of predictions.csv; frames are those on which a scored face was seen."""
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
        """Plain values for JSON, without the pictures."""
        values = asdict(self)
        del values["suspicious"], values["least_suspicious"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Prediction:
        """Inverse of to_dict, also of one that went through JSON."""
        tracks = tuple(TrackPrediction.from_dict(track) for track in values["tracks"])
        return cls(**{**values, "tracks": tracks})
