"""The page of a prediction run: one HTML file that needs no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfake.faces.crop import decode_jpeg, encode_jpeg

PORTRAIT_PX = 96


class Predicted(Protocol):
    """What the page shows of one file."""

    @property
    def portrait(self) -> bytes:
        """JPEG of the face that decided, empty if there is none."""

    def to_dict(self) -> dict[str, Any]:
        """The other facts: file, status, prob, verdict, reason, sampled_frames, face_frames, tracks."""


def write_page(path: Path, predictions: Iterable[Predicted], *, threshold: float, checkpoint: str) -> None:
    """Write one row a file: face, verdict, prob, timeline of every track."""
    environment = Environment(
        loader=PackageLoader("deepfake.reports", "templates"), autoescape=True, undefined=StrictUndefined
    )
    files = [file.to_dict() | {"portrait": data_uri(file.portrait)} for file in predictions]
    page = environment.get_template("prediction.html.j2")
    path.write_text(page.render(files=files, threshold=threshold, checkpoint=checkpoint), encoding="utf-8")


def data_uri(jpeg: bytes) -> str:
    """A small version of a picture as text for an img tag; empty for no picture."""
    if not jpeg:
        return ""
    small = cv2.resize(decode_jpeg(jpeg), (PORTRAIT_PX, PORTRAIT_PX), interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + b64encode(encode_jpeg(np.asarray(small), 85)).decode()
