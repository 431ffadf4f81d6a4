"""The HTML pages of a prediction run: one page for each video, and report.html, which lists all files."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import numpy as np

from deepfake.reports.html import clock, image_uri, person, stream_page, write_page
from deepfake.scoring.prediction import FaceShot, Prediction, TrackPrediction, WindowPrediction

ORIGINS = {
    "command line": "given on the command line",
    "validation": "fitted on the validation split in training",
    "default": "the default, because none was fitted",
}
MAX_POINTS = 240
WIDTH, HEIGHT = 1000.0, 100.0  # of the plot of a timeline
SHOT_PX = 320
SMALL_PX = 96
NUM_HIGHEST = 10  # files that the index names first
FACTS = {
    "sha256": "SHA-256",
    "bytes": "bytes",
    "modified": "last modified",
    "size": "picture",
    "duration_s": "length",
    "frames": "frames",
    "fps": "frames per second",
    "rotation_deg": "rotation",
    "codec": "codec",
    "container": "container",
}
LIBRARIES = ("deepfake", "torch", "timm", "facenet-pytorch", "av", "decord")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the pages say about the detector.

    threshold: prob from which a file is called fake; threshold_origin: where it comes from, in words.
    undetermined_margin: distance from the threshold within which there is no verdict. protocol: what the
    detector was trained on; empty if unknown. details: further facts by name, as they are shown.
    """

    checkpoint: str
    threshold: float
    threshold_origin: str
    undetermined_margin: float = 0.0
    protocol: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> ModelFacts:
        """From the header of predictions.json."""
        model, decision = header["model"], header["decision"]
        net, protocol = model["net"], model["protocol"] or {}
        origin, rule = decision["threshold_origin"], decision["threshold_rule"]
        spec = net["input"]
        versions = [f"{name} {header['environment'][name]}" for name in LIBRARIES]
        details = {
            "SHA-256 of the file": model["sha256"],
            "fingerprint of the network": model["fingerprint"],
            "network": " and ".join(
                net[part]["_target_"].rpartition(".")[2] for part in ("backbone", "head")
            ),
            "input": f"windows of {spec['window']} frame{'s' if spec['window'] > 1 else ''}, "
            f"{spec['size']} × {spec['size']} px, {spec['margin']:g} times the size of the face",
            "protocol": f"{protocol['name']}, hash {protocol['hash']}" if protocol else "",
            "fingerprint of the preprocessing": header["preprocessing"]["fingerprint"],
            "prob of a person": f"the {decision['window_rule']} rule over the windows",
            "prob of the file": f"the {decision['track_rule']} rule over the people",
            "temperature": f"{decision['temperature']:.3g}" if decision["calibrate"] else "",
            "versions": ", ".join([f"python {header['environment']['python']}", *versions]),
            "commit": header["environment"]["commit"],
        }
        return cls(
            checkpoint=model["path"],
            threshold=decision["threshold"],
            threshold_origin=ORIGINS.get(origin, origin) + (f" (rule {rule})" if rule else ""),
            undetermined_margin=decision["undetermined_margin"],
            protocol=protocol.get("name") or "",
            details={name: text for name, text in details.items() if text},
        )


def page_name(file: str) -> str:
    """Name, without suffix, of the outputs for a file: the same in every run, different for every file."""
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
    """Write everything about one file as a page that contains its pictures.

    portraits: a face of each track, JPEG. index, annotated: relative paths of the run's index page and of the
    annotated video, which are linked if given.
    """
    faces = {shot.track: shot.jpeg for shot in (*prediction.least_suspicious, *prediction.suspicious[::-1])}
    faces |= portraits or {}
    shown = {(shot.track, shot.frame) for shot in prediction.suspicious}
    tracks = sorted(prediction.tracks, key=lambda track: -track.prob)
    end_s = length_s(prediction)
    write_page(
        path,
        "prediction.html.j2",
        file=prediction,
        name=PurePath(prediction.file).name,
        model=model,
        portrait=image_uri(prediction.portrait),
        people=[person_block(track, end_s, faces.get(track.track, b"")) for track in tracks],
        suspicious=[shot_block(shot) for shot in prediction.suspicious],
        least_suspicious=[
            shot_block(s) for s in prediction.least_suspicious if (s.track, s.frame) not in shown
        ],
        heated=any(shot.heat for shot in prediction.suspicious),
        facts=file_facts(prediction),
        index=quote(index),
        annotated=quote(annotated),
    )


def person_block(track: TrackPrediction, end_s: float, portrait: bytes) -> dict[str, Any]:
    """What the page says about one person."""
    return {
        "name": person(track.track),
        "track": track,
        "portrait": image_uri(portrait),
        "spans": [time_range(start, end) for start, end in spans_of(track)],
        "timeline": timeline(track, end_s) if track.windows else None,
    }


def shot_block(shot: FaceShot) -> dict[str, Any]:
    """A face with its caption and, if there is one, its heat map."""
    return {
        "name": person(shot.track),
        "time": clock(shot.time_s),
        "frame": shot.frame,
        "prob": shot.prob,
        "uri": image_uri(shot.jpeg, max_px=SHOT_PX),
        "heat": image_uri(shot.heat, max_px=SHOT_PX),
    }


def spans_of(track: TrackPrediction) -> Sequence[tuple[float, float]]:
    """First and last second of each stretch in which a person is seen."""
    return track.spans or ((track.start_s, track.end_s),)


def time_range(start_s: float, end_s: float) -> str:
    """0:01.00–0:02.50, or a single time if both would read the same."""
    start, end = clock(start_s), clock(end_s)
    return start if start == end else f"{start}–{end}"


def length_s(prediction: Prediction) -> float:
    """The length of the video as far as it is known; above 0."""
    known = prediction.about.get("duration_s") or 0.0
    return max([known, 0.04, *(track.end_s for track in prediction.tracks)])


def file_facts(prediction: Prediction) -> dict[str, str]:
    """The known facts about a file, by name."""
    about = dict(prediction.about)
    if "width" in about and "height" in about:
        about["size"] = f"{about.pop('width')} × {about.pop('height')} px"
    names = [*(name for name in FACTS if name in about), *(name for name in about if name not in FACTS)]
    texts = {FACTS.get(name, name.replace("_", " ")): fact_text(name, about[name]) for name in names}
    if prediction.status == "ok":
        with_face = f"{prediction.face_frames:,} of them with a scored face"
        texts["frames analysed"] = f"{prediction.sampled_frames:,}, {with_face}"
    return {"file": prediction.file} | {name: text for name, text in texts.items() if text}


def fact_text(name: str, value: Any) -> str:
    """A fact about a file as the page shows it; empty if there is nothing to show."""
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
    """Counts of files, verdicts and errors in a run; highest: prob and name of the most suspicious files."""

    files: int
    verdicts: Mapping[str, int]
    errors: int
    highest: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, predictions: Iterable[Prediction]) -> Tally:
        """Count predictions; one is in memory at a time."""
        verdicts: Counter[str] = Counter()
        errors = 0
        highest: list[tuple[float, str]] = []
        for prediction in predictions:
            verdicts[prediction.verdict] += 1
            errors += prediction.status == "error"
            if prediction.prob is not None:
                highest = heapq.nlargest(NUM_HIGHEST, [*highest, (prediction.prob, prediction.file)])
        return cls(verdicts.total(), verdicts, errors, tuple(highest))


def write_index_page(
    path: Path,
    predictions: Iterable[Prediction],
    *,
    tally: Tally,
    model: ModelFacts,
    page_of: Callable[[Prediction], str] = lambda prediction: "",
) -> None:
    """Write report.html with a row and a picture for each file; one prediction is in memory at a time.

    page_of: relative path of a file's own page; empty if it has none.
    """

    def rows() -> Iterator[dict[str, Any]]:
        for prediction in predictions:
            yield {
                "file": prediction,
                "name": PurePath(prediction.file).name,
                "folder": parent if (parent := str(PurePath(prediction.file).parent)) != "." else "",
                "anchor": page_name(prediction.file),
                "portrait": image_uri(prediction.portrait, max_px=SMALL_PX),
                "page": quote(page_of(prediction)),
            }

    highest = [
        {"prob": prob, "file": file, "name": PurePath(file).name, "anchor": page_name(file)}
        for prob, file in tally.highest
    ]
    stream_page(path, "predictions.html.j2", rows=rows(), tally=tally, highest=highest, model=model)


@dataclass(frozen=True, slots=True)
class Point:
    """One window, or several neighbouring ones: mean, lowest and highest prob. y grows downwards."""

    x: float
    y: float
    y_low: float
    y_high: float
    prob: float
    title: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """spans: x and width of stretches in which the face is seen. ticks: x in percent, and the time."""

    points: tuple[Point, ...]
    spans: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, str], ...]


def timeline(track: TrackPrediction, end_s: float, *, max_points: int = MAX_POINTS) -> Timeline:
    """The probs of a person over the time of a video that ends at end_s > 0, in a plot of WIDTH by HEIGHT."""
    windows = sorted(track.windows, key=lambda window: window.start_s)
    groups = np.array_split(np.arange(len(windows)), min(len(windows), max_points))
    return Timeline(
        tuple(point([windows[index] for index in group], end_s) for group in groups if len(group)),
        tuple(
            (WIDTH * start / end_s, max(2.0, WIDTH * (end - start) / end_s)) for start, end in spans_of(track)
        ),
        ticks(end_s),
    )


def point(windows: Sequence[WindowPrediction], end_s: float) -> Point:
    """The point of neighbouring windows, at the middle of their time."""
    probs = [window.prob for window in windows]
    start, end = windows[0].start_s, windows[-1].end_s
    mean = float(np.mean(probs))
    several = (
        f", {len(windows)} windows from {min(probs):.2f} to {max(probs):.2f}" if len(windows) > 1 else ""
    )
    return Point(
        x=round(WIDTH * (start + end) / 2 / end_s, 1),
        y=height_of(mean),
        y_low=height_of(min(probs)),
        y_high=height_of(max(probs)),
        prob=mean,
        title=f"{time_range(start, end)}: {mean:.3f}{several}",
    )


def height_of(prob: float) -> float:
    """The distance of a prob from the upper edge."""
    return round(HEIGHT * (1 - prob), 1)


def ticks(end_s: float, *, max_ticks: int = 5) -> tuple[tuple[float, str], ...]:
    """Round times from 0 on, as percent of the width and as text."""
    steps = [base * unit for unit in (0.01, 0.1, 1.0) for base in (1, 2, 5)]
    steps += [10.0, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200]
    step = next((step for step in steps if end_s / step < max_ticks), end_s)
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    times = np.arange(0, end_s + 1e-9, step)
    return tuple((round(100 * time / end_s, 2), clock(time, digits=digits)) for time in times.tolist())
