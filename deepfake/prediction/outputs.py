"""What a run folder holds of each file alone: its page, its annotated copy."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.errors import DecodeError, UserError
from deepfake.faces.video_faces import VideoFaces
from deepfake.models.detector import Detector
from deepfake.prediction.detector import LoadedDetector
from deepfake.prediction.predictor import middle_row
from deepfake.scoring.prediction import Prediction

if TYPE_CHECKING:  # what makes pages, copies and heat maps is imported when one is asked for
    from deepfake.reports.predictions import ModelFacts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileOutputs:
    """Writes them into a run folder. pages, annotate, explain: as in conf/predict.yaml.

    Raises UserError when made with an unknown explanation, or for heat maps without captum.
    """

    run_dir: Path
    model: ModelFacts
    pages: bool = True
    annotate: bool = False
    explain: bool | str = False

    def __post_init__(self) -> None:
        if self.explain:
            from deepfake.prediction.explain import check_explanation

            check_explanation(self.explain)
        if self.explain and not self.pages:
            raise UserError("explain: heat maps stand on the pages of files: pages=true")

    def write(
        self, source: Path, prediction: Prediction, faces: VideoFaces, detector: LoadedDetector
    ) -> Prediction:
        """Write what is wanted of a file; returns the prediction with its heat maps, if there are any.

        A copy that cannot be made, since the video breaks where no frame was looked at, is only warned of.
        """
        from deepfake.reports.predictions import PAGES_FOLDER, page_name, write_video_page

        folder, name = self.run_dir / PAGES_FOLDER, page_name(prediction.file)
        folder.mkdir(parents=True, exist_ok=True)
        copy = ""
        if self.annotate:
            from deepfake.reports.annotate import write_annotated

            try:
                copy = write_annotated(
                    folder, f"{name}_annotated", source, prediction, faces, threshold=self.model.threshold
                ).name
            except DecodeError as err:
                log.warning("no annotated copy: %s", err)
        if self.explain:
            from deepfake.prediction.explain import EXPLANATIONS, with_heat

            maps = EXPLANATIONS[self.explain]
            prediction = with_heat(prediction, explainable(detector), faces, heat_maps=maps)
        if self.pages:
            rows = {track.track: middle_row(faces, track.track) for track in prediction.tracks}
            write_video_page(
                folder / f"{name}.html",
                prediction,
                model=self.model,
                portraits=dict(zip(rows, faces.jpegs(rows.values()), strict=True)),
                index="../report.html",
                annotated=copy,
            )
        return prediction


def explainable(detector: LoadedDetector) -> Detector:
    """The network, whose gradients heat maps take; raises UserError for an exported file."""
    if not isinstance(detector.detector, Detector):
        raise UserError(
            "explain: heat maps take the network in PyTorch; give the checkpoint that "
            f"{detector.path} was made of"
        )
    return detector.detector
