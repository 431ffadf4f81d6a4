import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.app.jobs import Task
from deepfake.parallel.pool import Failure, WorkerDied
from deepfake.video.write import write_video


class PretendWorker:
    """Returns what the upload holds, when it is let; one whose label has “crash” in it dies."""

    def __init__(self) -> None:
        self.go, self.began = threading.Event(), threading.Event()
        self.go.set()
        self.tasks: list[Task] = []
        self.ended = False
        self.outcome: Exception | None = None

    def run(self, task: Task, on_progress: Callable[..., object] | None = None) -> Any:
        self.tasks.append(task)
        assert on_progress is not None
        on_progress("looking for faces", 0.25)
        self.began.set()
        while not self.go.wait(0.01):
            if self.ended:
                raise WorkerDied("was ended")
        if "crash" in task.label:
            raise WorkerDied("crashed (SIGSEGV)")
        if isinstance(self.outcome, WorkerDied):
            raise self.outcome
        if self.outcome is not None:
            return Failure(self.outcome)
        (task.folder / "report.html").write_text(f"<p>{task.label}")
        (task.folder / "secret.txt").write_text("not in the list")
        content = task.upload.read_bytes()
        return {"prediction": {"file": task.label, "bytes": len(content)}, "files": ["report.html"]}

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
