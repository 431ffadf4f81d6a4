import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.app.jobs import Errand, ErrandFailed, Report
from deepfake.video.write import write_video


class PretendWorker:
    """Answers with what the upload holds, when it is let; one whose label has “crash” in it fails."""

    def __init__(self) -> None:
        self.go, self.began = threading.Event(), threading.Event()
        self.go.set()
        self.errands: list[Errand] = []
        self.ended = False

    def run(self, errand: Errand, report: Report, *, limit_s: float) -> dict[str, Any]:
        self.errands.append(errand)
        report("looking for faces", 0.25)
        self.began.set()
        while not self.go.wait(0.01):
            if self.ended:
                raise ErrandFailed("it was ended")
        if "crash" in errand.label:
            raise ErrandFailed(f"{errand.label}: it crashed")
        (errand.folder / "report.html").write_text(f"<p>{errand.label}")
        (errand.folder / "secret.txt").write_text("not in the list")
        content = errand.upload.read_bytes()
        return {"prediction": {"file": errand.label, "bytes": len(content)}, "files": ["report.html"]}

    def interrupt(self) -> None:
        self.ended = True

    def stop(self) -> None:
        self.ended = True


@pytest.fixture
def worker() -> Iterator[PretendWorker]:
    worker = PretendWorker()
    yield worker
    worker.stop()


@pytest.fixture(scope="session")
def film() -> bytes:
    """A small video without a face."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.mp4"
        write_video(path, [np.full((96, 128, 3), 90, np.uint8)] * 16, fps=8)
        return path.read_bytes()
