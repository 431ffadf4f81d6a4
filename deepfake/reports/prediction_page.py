"""The pages of a prediction run: one HTML file for each video, and one that leads to them."""

from __future__ import annotations

import hashlib
import heapq
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from deepfake.faces.crop import decode_jpeg, encode_jpeg
from deepfake.reports.model_facts import ModelFacts
from deepfake.reports.pages import portrait_uri, stream_page, write_page
from deepfake.reports.people import clock, person
from deepfake.reports.timeline import timeline
from deepfake.scoring.prediction import FaceShot, Prediction, TrackPrediction

SHOT_PX = 320
SMALL_PX = 96
FOREMOST = 10  # files that the index names first
FACTS = {
    "sha256": "SHA-256",
    "bytes": "bytes",
    "modified": "last modified",
    "size": "picture",
    "duration_s": "length",
    "frames": "frames",
    "fps": "frames a second",
    "rotation_deg": "rotation",
    "codec": "codec",
    "container": "container",
}


def page_name(file: str) -> str:
    """Name, without suffix, of what is written of a file: the same in every run, another for every file."""
    stem = re.sub(r"[^\w.-]+", "_", PurePath(file).stem, flags=re.ASCII).strip("._")[:60] or "file"
    return f"{stem}-{hashlib.sha256(file.encode(errors='surrogateescape')).hexdigest()[:8]}"


def write_video_page(
    path: Path,
    prediction: Prediction,
    *,
    model: ModelFacts,
    portraits: Mapping[int, bytes] | None = None,
    index: str = "",
    annotated: str = "",
) -> None:
    """Write all that is said of one file as a page with its pictures inside.

    portraits: a face of each track, JPEG. index, annotated: relative paths of the run's index page and of the
    annotated video, linked if given.
    """
    pictures = {shot.track: shot.jpeg for shot in (*prediction.innocent, *prediction.suspicious[::-1])}
    pictures |= dict(portraits or {})
    shown = {(shot.track, shot.frame) for shot in prediction.suspicious}
    tracks = sorted(prediction.tracks, key=lambda track: -track.prob)
    end_s = length_s(prediction)
    write_page(
        path,
        "prediction.html.j2",
        file=prediction,
        name=PurePath(prediction.file).name,
        model=model,
        portrait=portrait_uri(prediction.portrait),
        people=[person_block(track, end_s, pictures.get(track.track, b"")) for track in tracks],
        suspicious=[shot_block(shot) for shot in prediction.suspicious],
        innocent=[shot_block(s) for s in prediction.innocent if (s.track, s.frame) not in shown],
        heated=any(shot.heat for shot in prediction.suspicious),
        facts=file_facts(prediction),
        index=quote(index),
        annotated=quote(annotated),
    )


def person_block(track: TrackPrediction, end_s: float, portrait: bytes) -> dict[str, Any]:
    """What the page says of one person."""
    spans = track.spans or ((track.start_s, track.end_s),)
    return {
        "name": person(track.track),
        "track": track,
        "portrait": portrait_uri(portrait),
        "spans": [clock(a) if clock(a) == clock(b) else f"{clock(a)}–{clock(b)}" for a, b in spans],
        "timeline": timeline(track, end_s) if track.windows else None,
    }


def shot_block(shot: FaceShot) -> dict[str, Any]:
    """A face with its caption and, if there is one, its heat map."""
    return {
        "name": person(shot.track),
        "time": clock(shot.time_s),
        "frame": shot.frame,
        "prob": shot.prob,
        "uri": picture_uri(shot.jpeg),
        "heat": picture_uri(shot.heat),
    }


def picture_uri(jpeg: bytes) -> str:
    """A JPEG, reduced if it is large, as text for an img tag; empty for no bytes."""
    if not jpeg:
        return ""
    rgb = decode_jpeg(jpeg)
    scale = SHOT_PX / max(rgb.shape[:2])
    if scale < 1:
        rgb = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        jpeg = encode_jpeg(rgb, 88)
    return "data:image/jpeg;base64," + b64encode(jpeg).decode()


def length_s(prediction: Prediction) -> float:
    """How long the video is as far as is known, above 0."""
    known = prediction.about.get("duration_s") or 0.0
    return max([known, 0.04, *(track.end_s for track in prediction.tracks)])


def file_facts(prediction: Prediction) -> dict[str, str]:
    """What is known of a file, by name, as far as it is known."""
    about = dict(prediction.about)
    if "width" in about and "height" in about:
        about["size"] = f"{about.pop('width')} × {about.pop('height')} px"
    names = [*(name for name in FACTS if name in about), *(name for name in about if name not in FACTS)]
    texts = {FACTS.get(name, name.replace("_", " ")): fact_text(name, about[name]) for name in names}
    if prediction.status == "ok":
        with_face = f"{prediction.face_frames:,} of them with a judged face"
        texts["frames looked at"] = f"{prediction.sampled_frames:,}, {with_face}"
    return {"file": prediction.file} | {name: text for name, text in texts.items() if text}


def fact_text(name: str, value: Any) -> str:
    """A fact of a file as a page shows it; empty where there is nothing to say."""
    if value is None or (name in ("duration_s", "fps", "rotation_deg") and not value):
        return ""
    if name == "duration_s":
        return f"{clock(value)} ({value:.2f} s)"
    if name == "rotation_deg":
        return f"{value}°, shown upright here"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Tally:
    """Of a run: how many got each verdict, how many could not be read, which got the highest probs."""

    files: int
    verdicts: Mapping[str, int]
    errors: int
    foremost: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, predictions: Iterable[Prediction]) -> Tally:
        """Count predictions, one in memory."""
        verdicts: Counter[str] = Counter()
        errors = 0
        foremost: list[tuple[float, str]] = []
        for prediction in predictions:
            verdicts[prediction.verdict] += 1
            errors += prediction.status == "error"
            if prediction.prob is not None:
                foremost = heapq.nlargest(FOREMOST, [*foremost, (prediction.prob, prediction.file)])
        return cls(verdicts.total(), verdicts, errors, tuple(foremost))


def write_index_page(
    path: Path,
    predictions: Iterable[Prediction],
    *,
    tally: Tally,
    model: ModelFacts,
    page_of: Callable[[Prediction], str] = lambda prediction: "",
) -> None:
    """Write report.html, a row for each file; pictures are inside it, and one prediction in memory.

    page_of: relative path of a file's own page, empty if it has none.
    """

    def rows() -> Iterator[dict[str, Any]]:
        for prediction in predictions:
            yield {
                "file": prediction,
                "name": PurePath(prediction.file).name,
                "folder": parent if (parent := str(PurePath(prediction.file).parent)) != "." else "",
                "anchor": page_name(prediction.file),
                "portrait": portrait_uri(prediction.portrait, side_px=SMALL_PX),
                "page": quote(page_of(prediction)),
            }

    foremost = [
        {"prob": prob, "file": file, "name": PurePath(file).name, "anchor": page_name(file)}
        for prob, file in tally.foremost
    ]
    stream_page(path, "predictions.html.j2", rows=rows(), tally=tally, foremost=foremost, model=model)
