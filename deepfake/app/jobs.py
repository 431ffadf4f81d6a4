"""Uploads that wait, are analysed in order by worker processes, and are deleted in time."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from deepfake.app.uploads import Limits, check
from deepfake.errors import DecodeError, UserError
from deepfake.faces.extract import extract_faces
from deepfake.faces.video_faces import VideoFaces, read_faces
from deepfake.parallel.pool import Failure, MemoryLimitReached, TimeLimitReached, WorkerDied, report_progress
from deepfake.prediction.detector import LoadedDetector, sha256
from deepfake.prediction.explain import EXPLANATIONS, with_heat
from deepfake.prediction.outputs import explainable
from deepfake.prediction.predictor import middle_row, predict_faces
from deepfake.reports.annotate import write_annotated
from deepfake.reports.predictions import ModelFacts, write_video_page
from deepfake.scoring.prediction import Prediction
from deepfake.video import probe as files

log = logging.getLogger(__name__)

PURGE_S = 5
PREDICTION, REPORT = "prediction.json", "report.html"

Report = Callable[[str, float | None], object]
"""Takes the stage, and how much of it is done, in [0, 1], where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker is asked: analyse the upload, which its user calls label, and write into folder."""

    upload: Path
    folder: Path
    label: str


class Worker(Protocol):
    """A parallel.WorkerProcess, as far as the queue knows it."""

    def run(self, item: Any, on_progress: Callable[..., object] | None = None) -> Any:
        """The result of a Task or its Failure; raises WorkerDied."""

    def interrupt(self) -> None:
        """Make the running task fail."""

    def stop(self) -> None:
        """End for good."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """An upload and what became of it.

    status: waiting, working, done or failed. stage, share: what is being done and how much of it, in [0, 1],
    if known. message: why it failed. result: the worker's. ended_s: on the monotonic clock.
    """

    id: str
    folder: Path
    label: str = ""
    upload: Path | None = None
    status: str = "waiting"
    stage: str = "waiting"
    share: float | None = None
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    ended_s: float | None = None

    def report(self, stage: str, share: float | None = None) -> None:
        """Note how far it is."""
        self.stage, self.share = stage, share

    def fail(self, message: str) -> None:
        """Note why there is no result."""
        self.status, self.message = "failed", message


class QueueFull(RuntimeError):
    """As many uploads wait as may."""


class Queue:
    """Jobs in the order they came, one at a time for each worker; lives in one event loop.

    root: where each job has a folder. keep: leave uploads and results there for good; else an upload is
    deleted as soon as its result is there, and the result keep_minutes later.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        root: Path,
        *,
        max_waiting: int = 32,
        keep_minutes: float = 60,
        keep: bool = False,
    ) -> None:
        self.workers, self.root, self.max_waiting = workers, root, max_waiting
        self.keep_minutes, self.keep = keep_minutes, keep
        self.jobs: dict[str, Job] = {}
        self.waiting: deque[Job] = deque()
        self._arriving = 0
        self._running: dict[Job, Worker] = {}
        self._arrival = asyncio.Condition()

    @contextmanager
    def arriving(self) -> Iterator[Job]:
        """A new job with a folder to write its upload into; a block that raises leaves nothing of it.

        Raises QueueFull where as many wait or arrive as may.
        """
        if self._arriving + len(self.waiting) >= self.max_waiting:
            raise QueueFull(f"{self.max_waiting} videos are waiting already: try again when some are done")
        name = secrets.token_urlsafe(18)
        job = Job(id=name, folder=self.root / name)
        job.folder.mkdir(mode=0o700)
        self._arriving += 1
        try:
            yield job
        except BaseException:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        finally:
            self._arriving -= 1

    async def add(self, job: Job) -> None:
        """Let a job wait for its turn."""
        self.jobs[job.id] = job
        self.waiting.append(job)
        async with self._arrival:
            self._arrival.notify()

    def place(self, job: Job) -> int:
        """1 for the one whose turn is next, 0 for one that does not wait."""
        return self.waiting.index(job) + 1 if job in self.waiting else 0

    def remove(self, job: Job) -> None:
        """Forget a job and its results, and end it if it runs; what is kept stays on the disk."""
        self.jobs.pop(job.id, None)
        with suppress(ValueError):
            self.waiting.remove(job)
        if job in self._running:
            self._running[job].interrupt()  # its folder is deleted when the worker has ended
        elif not self.keep:
            shutil.rmtree(job.folder, ignore_errors=True)

    async def run(self) -> None:
        """Work until cancelled; the workers have ended then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._delete_old())
                for worker in self.workers:
                    tasks.create_task(self._keep_busy(worker))
        finally:
            for worker in self.workers:
                worker.stop()

    async def _keep_busy(self, worker: Worker) -> None:
        while True:
            async with self._arrival:
                await self._arrival.wait_for(lambda: self.waiting)
                job = self.waiting.popleft()
            self._running[job] = worker
            job.status = "working"
            try:
                await self._work(job, worker)
            finally:
                del self._running[job]
                self._delete_leftovers(job)

    async def _work(self, job: Job, worker: Worker) -> None:
        assert job.upload is not None
        task = Task(upload=job.upload, folder=job.folder, label=job.label)
        job.report("starting")
        try:
            result = await asyncio.to_thread(worker.run, task, job.report)
            if not isinstance(result, Failure):
                job.result, job.status = result, "done"
            elif isinstance(result.error, UserError | DecodeError):
                job.fail(str(result.error))
            else:
                job.fail(f"an unforeseen error stopped it: {result.reason}")
        except asyncio.CancelledError:
            worker.stop()  # else its thread, which cannot be cancelled, would be waited for
            raise
        except (TimeLimitReached, MemoryLimitReached) as err:
            job.fail(str(err))
        except WorkerDied as err:
            job.fail(f"the process that read it {err}")
        except Exception as err:
            log.exception("a worker could not be used")
            job.fail(f"{type(err).__name__}: {err}")
        job.ended_s = time.monotonic()

    def _delete_leftovers(self, job: Job) -> None:
        """Delete the upload, and all files of a job that nobody can ask for."""
        if self.keep:
            return
        if job.upload is not None:
            job.upload.unlink(missing_ok=True)
        if job.status != "done" or job.id not in self.jobs:
            shutil.rmtree(job.folder, ignore_errors=True)

    async def _delete_old(self) -> None:
        while True:
            await asyncio.sleep(min(PURGE_S, self.keep_minutes * 60 / 2))
            old_s = time.monotonic() - self.keep_minutes * 60
            for job in list(self.jobs.values()):
                if job.ended_s is not None and job.ended_s < old_s:
                    self.remove(job)


@dataclass(frozen=True, kw_only=True)
class UploadPredictor:
    """Does a worker's tasks with one detector.

    about: the detector, for the report. annotate: whether a copy of the video is drawn. explain: whether
    there are heat maps of suspicious faces, and which, as in conf/predict.yaml. file_limits: of conf/limits.
    report: gets the stage of the work and how much of it is done.
    """

    detector: LoadedDetector
    about: ModelFacts
    limits: Limits
    annotate: bool = True
    explain: bool | str = False
    file_limits: files.Limits = files.LIMITS
    report: Report = report_progress

    def __call__(self, task: Task | None) -> Any:
        """The result of a task as plain values, or about for None.

        prediction: as Prediction.to_dict. seconds: of the video, 0 for an image. threshold: of probs. faces:
        the most suspicious and the least suspicious ones, each with its picture's file and that of its heat
        map. portraits: a picture's file for each track, by its number. annotated: the file of the copy, if
        there is one. note: what else could not be made. files: all of these, and the report's.
        Raises UserError, with the user's name of the file, if there is no result.
        """
        if task is None:
            return self.about
        try:
            return self._predict(task)
        except (UserError, DecodeError) as err:
            raise UserError(f"{task.label}: {without_path(err, task)}") from err
        except Exception:
            traceback.print_exc()  # which does not travel with the exception
            raise

    def _predict(self, task: Task) -> dict[str, Any]:
        self.report("reading", None)
        info = check(task.upload, self.limits, self.file_limits)
        into = task.folder / "faces.arrow"
        self.report("looking for faces", 0.0)
        extract_faces(
            task.upload,
            into,
            self.detector.checkpoint.faces,
            device=self.detector.device,
            limits=self.file_limits,
            progress=lambda frame: self.report("looking for faces", min(1.0, (frame + 1) / info.num_frames)),
        )
        try:
            return self._write_result(task, read_faces(into)) | {"seconds": info.duration_s or 0.0}
        finally:
            into.unlink(missing_ok=True)

    def _write_result(self, task: Task, faces: VideoFaces) -> dict[str, Any]:
        self.report("scoring", None)
        facts = {"sha256": sha256(task.upload), "bytes": task.upload.stat().st_size}
        prediction = predict_faces(self.detector.detector, self.detector.checkpoint, task.label, faces, facts)
        if self.explain:
            self.report("drawing heat maps", None)
            heat_maps = EXPLANATIONS[self.explain]
            prediction = with_heat(prediction, explainable(self.detector), faces, heat_maps=heat_maps)
        annotated, note = "", ""
        if self.annotate and prediction.tracks:
            self.report("drawing the video", None)
            annotated, note = self._draw(task, prediction, faces)
        rows = {track.track: middle_row(faces, track.track) for track in prediction.tracks}
        portraits = dict(zip(rows, faces.jpegs(rows.values()), strict=True))
        write_video_page(
            task.folder / REPORT, prediction, model=self.about, portraits=portraits, annotated=annotated
        )
        values = prediction.to_dict()
        (task.folder / PREDICTION).write_text(json.dumps(values, indent=1) + "\n")
        pictures = Pictures(task.folder)
        result = {
            "prediction": values,
            "threshold": self.about.threshold,
            "faces": pictures.write_faces(prediction),
            "portraits": {
                track: pictures.write(f"person_{track}", data) for track, data in portraits.items()
            },
            "annotated": annotated,
            "note": note,
        }
        return result | {"files": [PREDICTION, REPORT, *filter(None, [annotated]), *pictures.files]}

    def _draw(self, task: Task, prediction: Prediction, faces: VideoFaces) -> tuple[str, str]:
        """The annotated copy's file and "", or "" and why there is none: the prediction stands without it."""
        threshold = self.about.threshold
        try:
            copy = write_annotated(
                task.folder, "annotated", task.upload, prediction, faces, threshold=threshold
            )
        except DecodeError as err:
            return "", f"the annotated video could not be drawn: {without_path(err, task)}"
        return copy.name, ""


class Pictures:
    """Writes a result's JPEGs and remembers their files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, list[str]()

    def write(self, name: str, jpeg: bytes) -> str:
        """The file's name; empty for no bytes."""
        if not jpeg:
            return ""
        file = f"{name}.jpg"
        (self.folder / file).write_bytes(jpeg)
        self.files.append(file)
        return file

    def write_faces(self, prediction: Prediction) -> list[dict[str, Any]]:
        """What each of the most and the least suspicious faces is, with its files."""
        sides = {"suspicious": prediction.suspicious, "innocent": prediction.least_suspicious}
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


def without_path(err: Exception, task: Task) -> str:
    """An error without the upload's path, which says nothing to its user."""
    return str(err).removeprefix(f"{task.upload}: ").replace(str(task.upload), task.label)


def facts_to_show(header: Mapping[str, Any], *, file: str) -> ModelFacts:
    """What the page and the reports say of the detector; file: the name that it is called by."""
    return replace(ModelFacts.from_header(header), checkpoint=file)
