"""What a prediction run writes: tables for other programs, a page for each file, and report.html."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.io import atomic_path, csv_writer
from deepfake.reports.html import clock, image_uri, stream_page, time_range, write_page
from deepfake.scoring.prediction import Prediction, WindowPrediction

SCHEMA = "deepfake.predictions/2"
"""Of predictions.json, as predictions.schema.json beside this module describes it."""
SCHEMA_FILE = Path(__file__).with_name("predictions.schema.json")
COLUMNS = ("file", "status", "prob", "verdict", "tracks", "frames", "reason")
WINDOWS = pa.schema(
    {
        "file": pa.string(),
        "track": pa.int32(),
        "start_frame": pa.int64(),
        "end_frame": pa.int64(),
        "start_s": pa.float64(),
        "end_s": pa.float64(),
        "logit": pa.float64(),
        "prob": pa.float64(),
    }
)
ROWS_PER_GROUP = 65_536
PAGES_FOLDER = "files"  # of a run folder
ORIGINS = {
    "command line": "given on the command line",
    "validation": "fitted on the validation split in training",
    "default": "the default, because none was fitted",
}
MAX_POINTS = 240  # of a timeline
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
LIBRARIES = ("python", "deepfake", "torch", "timm", "facenet-pytorch", "av", "decord")


def write_predictions(run_dir: Path, header: Mapping[str, Any], predictions: Iterable[Prediction]) -> None:
    """Write predictions.csv, predictions.json (header, then files) and windows.parquet; one file in memory.

    The files appear when they are complete; those of an earlier attempt are replaced.
    """
    with (
        atomic_path(run_dir / "predictions.csv") as csv_path,
        atomic_path(run_dir / "predictions.json") as json_path,
        atomic_path(run_dir / "windows.parquet") as parquet_path,
        csv_path.open("w", encoding="utf-8", newline="") as csv_file,
        json_path.open("w", encoding="utf-8", newline="") as json_file,
        pq.ParquetWriter(parquet_path, WINDOWS) as parquet,
    ):
        write_row = csv_writer(csv_file, COLUMNS)
        json_file.write(json.dumps(dict(header), indent=1).removesuffix("\n}") + ',\n "files": [')
        separator, windows = "\n", list[dict[str, Any]]()
        for prediction in predictions:
            write_row(prediction.row())
            # one line per file, so that a long list can be read line by line
            json_file.write(f"{separator}  {json.dumps(prediction.to_dict())}")
            separator = ",\n"
            for track in prediction.tracks:
                keys = {"file": prediction.file, "track": track.track}
                windows += [keys | asdict(window) for window in track.windows]
            if len(windows) >= ROWS_PER_GROUP:
                parquet.write_table(pa.Table.from_pylist(windows, WINDOWS))
                windows.clear()
        if windows:
            parquet.write_table(pa.Table.from_pylist(windows, WINDOWS))
        json_file.write("\n ]\n}\n")


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
        model, decision, environment = header["model"], header["decision"], header["environment"]
        net, protocol = model["net"], model["protocol"] or {}
        origin, rule = decision["threshold_origin"], decision["threshold_rule"]
        spec = net["input"]
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
            "versions": ", ".join(f"{name} {environment[name]}" for name in LIBRARIES),
            "commit": environment["commit"],
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
    portraits: Mapping[int, bytes],
    index: str = "",
    annotated: str = "",
) -> None:
    """Write everything about one file as a page that contains its pictures.

    portraits: a face of each track, JPEG. index, annotated: relative paths of the run's index page and of the
    annotated video, which are linked if given.
    """
    shown = {(shot.track, shot.frame) for shot in prediction.suspicious}
    known_s = prediction.about.get("duration_s") or 0.0
    end_s = max([known_s, 0.04, *(track.end_s for track in prediction.tracks)])
    write_page(
        path,
        "prediction.html.j2",
        file=prediction,
        name=PurePath(prediction.file).name,
        model=model,
        people=[
            {
                "track": track,
                "portrait": image_uri(portraits[track.track]),
                "spans": track.spans or ((track.start_s, track.end_s),),
                "points": timeline(track.windows),
            }
            for track in sorted(prediction.tracks, key=lambda track: -track.prob)
        ],
        end_s=end_s,
        ticks=ticks(end_s),
        least_suspicious=[s for s in prediction.least_suspicious if (s.track, s.frame) not in shown],
        facts=file_facts(prediction),
        index=index,
        annotated=annotated,
    )


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


class Point(NamedTuple):
    """One window, or several neighbouring ones: the middle of their time; mean, lowest and highest prob."""

    time_s: float
    prob: float
    low: float
    high: float
    title: str


def timeline(windows: Sequence[WindowPrediction], *, max_points: int = MAX_POINTS) -> list[Point]:
    """The probs of a person over time; neighbouring windows are joined if there are more than max_points."""
    windows = sorted(windows, key=lambda window: window.start_s)
    points = []
    for group in np.array_split(np.arange(len(windows)), min(len(windows), max_points) or 1):
        probs = [windows[index].prob for index in group]
        if not probs:
            continue
        start_s, end_s = windows[group[0]].start_s, windows[group[-1]].end_s
        low, mean, high = min(probs), float(np.mean(probs)), max(probs)
        several = f", {len(probs)} windows from {low:.2f} to {high:.2f}" if len(probs) > 1 else ""
        title = f"{time_range(start_s, end_s)}: {mean:.3f}{several}"
        points.append(Point((start_s + end_s) / 2, mean, low, high, title))
    return points


def ticks(end_s: float, *, max_ticks: int = 5) -> list[tuple[float, str]]:
    """Round times from 0 on, as percent of the width and as text."""
    steps = [base * unit for unit in (0.01, 0.1, 1.0) for base in (1, 2, 5)]
    steps += [10.0, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200]
    step = next((step for step in steps if end_s / step < max_ticks), end_s)
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    times = np.arange(0, end_s + 1e-9, step)
    return [(round(100 * time / end_s, 2), clock(time, digits=digits)) for time in times.tolist()]


def write_index_page(
    path: Path, predictions: Callable[[], Iterable[Prediction]], *, model: ModelFacts
) -> None:
    """Write report.html with a row and a picture for each file, linked to its page in PAGES_FOLDER if any.

    predictions: an iterator over all of them, which is asked for twice; one is in memory at a time.
    """
    verdicts, num_errors = Counter[str](), 0
    highest: list[tuple[float, str]] = []
    for prediction in predictions():
        verdicts[prediction.verdict] += 1
        num_errors += prediction.status == "error"
        if prediction.prob is not None:
            highest = heapq.nlargest(NUM_HIGHEST, [*highest, (prediction.prob, prediction.file)])

    def rows() -> Iterator[dict[str, Any]]:
        for prediction in predictions():
            file, anchor = PurePath(prediction.file), page_name(prediction.file)
            page = f"{PAGES_FOLDER}/{anchor}.html"
            yield {
                "file": prediction,
                "name": file.name,
                "folder": "" if file.parent == PurePath() else file.parent,
                "anchor": anchor,
                "portrait": image_uri(prediction.portrait, max_px=SMALL_PX),
                "page": page if (path.parent / page).is_file() else "",
            }

    stream_page(
        path,
        "predictions.html.j2",
        rows=rows(),
        num_files=verdicts.total(),
        verdicts=verdicts,
        num_errors=num_errors,
        highest=[(prob, file, PurePath(file).name, page_name(file)) for prob, file in highest],
        model=model,
    )
