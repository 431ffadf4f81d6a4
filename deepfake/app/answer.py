"""One upload -> its prediction, and the files beside it that the page shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from deepfake.app.kinds import Limits, check
from deepfake.app.queue import Errand
from deepfake.app.worker import Report
from deepfake.errors import DecodeError, UserError
from deepfake.faces.jobs import faces_of
from deepfake.faces.stopwatch import Item, Stopwatch
from deepfake.faces.video_faces import VideoFaces
from deepfake.prediction.artifacts import explainable
from deepfake.prediction.explain import EXPLANATIONS, with_heat
from deepfake.prediction.judge import judge, middle_row
from deepfake.prediction.loaded import LoadedDetector
from deepfake.prediction.reading import sha256
from deepfake.records import Frames
from deepfake.reports.annotated import write_annotated
from deepfake.reports.model_facts import ModelFacts
from deepfake.reports.prediction_page import write_video_page
from deepfake.scoring.prediction import Prediction
from deepfake.video import limits as files

PREDICTION, REPORT = "prediction.json", "report.html"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Does a worker's errands with one detector.

    about: the detector, for the report. annotate: whether a copy of the video is drawn. explain: whether
    there are heat maps of suspicious faces, and which, as in conf/predict.yaml. file_limits: of conf/limits.
    """

    detector: LoadedDetector
    about: ModelFacts
    limits: Limits
    annotate: bool = True
    explain: bool | str = False
    file_limits: files.Limits = files.LIMITS

    def __call__(self, errand: Errand, report: Report) -> dict[str, Any]:
        """The answer as plain values; raises UserError, with the user's name of the file, if there is none.

        prediction: as Prediction.to_dict. seconds: of the video, 0 for an image. threshold: of probs. faces:
        the telling ones, most telling first on either side, each with its picture's file and that of its heat
        map. portraits: a picture's file for each track, by its number. annotated: the file of the copy, if
        there is one. note: what else could not be made. files: all of these, and the report's.
        """
        try:
            return self.judged(errand, report)
        except (UserError, DecodeError) as err:
            raise UserError(f"{errand.label}: {own_words(err, errand)}") from err

    def judged(self, errand: Errand, report: Report) -> dict[str, Any]:
        """The same; errors name the upload's own path, or nothing."""
        report("reading", None)
        info = check(errand.upload, self.limits, self.file_limits)
        watch = Watch(report, num_frames=info.num_frames)
        faces = faces_of(
            errand.upload,
            self.detector.recipe.face_settings,
            device=self.detector.device,
            stopwatch=watch,
            spill=errand.folder,
            limits=self.file_limits,
        )
        try:
            return self.told(errand, report, faces) | {"seconds": info.duration_s or 0.0}
        finally:
            faces.discard()

    def told(self, errand: Errand, report: Report, faces: VideoFaces) -> dict[str, Any]:
        """The answer, but for the seconds, of an upload's faces."""
        report("scoring", None)
        facts = {"sha256": sha256(errand.upload), "bytes": errand.upload.stat().st_size}
        prediction = judge(self.detector.detector, self.detector.recipe, errand.label, faces, facts)
        if self.explain:
            report("drawing heat maps", None)
            heat_maps = EXPLANATIONS[self.explain]
            prediction = with_heat(prediction, explainable(self.detector), faces, heat_maps=heat_maps)
        annotated, note = "", ""
        if self.annotate and prediction.tracks:
            report("drawing the video", None)
            annotated, note = self.draw(errand, prediction, faces)
        rows = {track.track: middle_row(faces, track.track) for track in prediction.tracks}
        portraits = dict(zip(rows, faces.jpegs(rows.values()), strict=True))
        write_video_page(
            errand.folder / REPORT, prediction, model=self.about, portraits=portraits, annotated=annotated
        )
        values = prediction.to_dict()
        (errand.folder / PREDICTION).write_text(json.dumps(values, indent=1) + "\n")
        written = Pictures(errand)
        answer = {
            "prediction": values,
            "threshold": self.about.threshold,
            "faces": written.faces(prediction),
            "portraits": {track: written.write(f"person_{track}", jpeg) for track, jpeg in portraits.items()},
            "annotated": annotated,
            "note": note,
        }
        return answer | {"files": [PREDICTION, REPORT, *filter(None, [annotated]), *written.files]}

    def draw(self, errand: Errand, prediction: Prediction, faces: VideoFaces) -> tuple[str, str]:
        """The annotated copy's file and nothing, or nothing and why there is none: the verdict stands."""
        threshold = self.about.threshold
        try:
            copy = write_annotated(
                errand.folder, "annotated", errand.upload, prediction, faces, threshold=threshold
            )
        except DecodeError as err:
            return "", f"the annotated video could not be drawn: {own_words(err, errand)}"
        return copy.name, ""


class Watch(Stopwatch):
    """Tells how far into a video of num_frames an extraction is."""

    def __init__(self, report: Report, *, num_frames: int) -> None:
        super().__init__()
        self.report, self.num_frames = report, num_frames

    def each(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items; frames are told of before they are looked at."""
        self.report("looking for faces", 0.0)
        for item in super().each(name, items):
            yield item
            if isinstance(item, Frames) and len(item):
                self.report("looking for faces", min((int(item.index[-1]) + 1) / self.num_frames, 1.0))
            del item


class Pictures:
    """Writes an answer's JPEGs and remembers their files."""

    def __init__(self, errand: Errand) -> None:
        self.folder, self.files = errand.folder, list[str]()

    def write(self, name: str, jpeg: bytes) -> str:
        """The file's name; empty for no bytes."""
        if not jpeg:
            return ""
        file = f"{name}.jpg"
        (self.folder / file).write_bytes(jpeg)
        self.files.append(file)
        return file

    def faces(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Write the telling faces; what each one is."""
        sides = {"suspicious": prediction.suspicious, "innocent": prediction.innocent}
        return [
            {
                "side": side,
                "track": shot.track,
                "time_s": shot.time_s,
                "prob": shot.prob,
                "file": self.write(f"{side}_{place}", shot.jpeg),
                "heat": self.write(f"{side}_{place}_heat", shot.heat),
            }
            for side, shots in sides.items()
            for place, shot in enumerate(shots)
        ]


def own_words(err: Exception, errand: Errand) -> str:
    """An error without the upload's path, which says nothing to its user."""
    return str(err).removeprefix(f"{errand.upload}: ").replace(str(errand.upload), errand.label)


def shown_facts(header: Mapping[str, Any], *, file: str) -> ModelFacts:
    """What the page and the reports say of the detector; file: the name that it is called by."""
    return replace(ModelFacts.from_header(header), checkpoint=file)
