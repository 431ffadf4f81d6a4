"""Uploads that wait, are judged in order, and are forgotten in time."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from deepfake.app.uploads import Limits, check
from deepfake.errors import DecodeError, UserError
from deepfake.faces.extract import Item, Stopwatch, faces_of
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel.process import WATCH_S, interrupts_held, near_limit
from deepfake.prediction.explain import EXPLANATIONS, with_heat
from deepfake.prediction.outputs import explainable
from deepfake.prediction.predictor import LoadedDetector, judge, middle_row, sha256
from deepfake.records import Frames
from deepfake.reports.annotate import write_annotated
from deepfake.reports.prediction_page import ModelFacts, write_video_page
from deepfake.scoring.prediction import Prediction
from deepfake.video import limits as files

log = logging.getLogger(__name__)

PURGE_S = 5


class Works(Protocol):
    """A Worker, as far as the queue knows it."""

    def run(self, errand: Any, report: Report, *, limit_s: float) -> Any:
        """Blocks; raises ErrandFailed."""

    def interrupt(self) -> None:
        """Make what runs fail."""

    def stop(self) -> None:
        """End for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a worker is asked: judge the upload, called label by its user, and write results into folder."""

    upload: Path
    folder: Path
    label: str


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """An upload and what became of it.

    status: waiting, working, done or failed. stage, share: what is being done and how much of it, in [0, 1],
    if known. message: why it failed. answer: the worker's. ended: on the monotonic clock.
    """

    id: str
    folder: Path
    label: str = ""
    upload: Path | None = None
    status: str = "waiting"
    stage: str = "waiting"
    share: float | None = None
    message: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    ended: float | None = None

    def report(self, stage: str, share: float | None = None) -> None:
        """Note how far it is."""
        self.stage, self.share = stage, share


class Full(RuntimeError):
    """As many uploads wait as may."""


class Queue:
    """Jobs in the order they came, one at a time to each worker; lives in one event loop.

    root: where each job has a folder. keep: leave uploads and results there for good; else an upload goes as
    soon as its answer is made, and results keep_minutes later.
    """

    def __init__(
        self,
        workers: Sequence[Works],
        root: Path,
        *,
        max_waiting: int = 32,
        limit_s: float = 900,
        keep_minutes: float = 60,
        keep: bool = False,
    ) -> None:
        self.workers, self.root = workers, root
        self.max_waiting, self.limit_s = max_waiting, limit_s
        self.keep_minutes, self.keep = keep_minutes, keep
        self.jobs: dict[str, Job] = {}
        self.waiting: deque[Job] = deque()
        self._arriving = 0
        self._at: dict[Job, Works] = {}
        self._came = asyncio.Condition()

    @contextmanager
    def arriving(self) -> Iterator[Job]:
        """A new job with a folder to write its upload into; a block that raises leaves nothing of it.

        Raises Full where as many wait or arrive as may.
        """
        if self._arriving + len(self.waiting) >= self.max_waiting:
            raise Full(f"{self.max_waiting} videos are waiting already: try again when some are done")
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
        async with self._came:
            self._came.notify()

    def place(self, job: Job) -> int:
        """1 for the one whose turn is next, 0 for one that does not wait."""
        return self.waiting.index(job) + 1 if job in self.waiting else 0

    def remove(self, job: Job) -> None:
        """Forget a job and its results, and leave it undone if it is; what is kept stays on the disk."""
        self.jobs.pop(job.id, None)
        with suppress(ValueError):
            self.waiting.remove(job)
        if job in self._at:
            self._at[job].interrupt()  # its folder goes when the worker has let go of it
        elif not self.keep:
            shutil.rmtree(job.folder, ignore_errors=True)

    async def run(self) -> None:
        """Work until cancelled; workers have ended then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._purge())
                for worker in self.workers:
                    tasks.create_task(self._work(worker))
        finally:
            for worker in self.workers:
                worker.stop()

    async def _work(self, worker: Works) -> None:
        while True:
            async with self._came:
                await self._came.wait_for(lambda: self.waiting)
                job = self.waiting.popleft()
            self._at[job] = worker
            job.status = "working"
            try:
                await self._do(job, worker)
            finally:
                del self._at[job]
                self._clear(job)

    async def _do(self, job: Job, worker: Works) -> None:
        assert job.upload is not None
        errand = Errand(upload=job.upload, folder=job.folder, label=job.label)
        doing = asyncio.to_thread(worker.run, errand, job.report, limit_s=self.limit_s)
        try:
            job.answer = await doing
            job.status = "done"
        except asyncio.CancelledError:
            worker.stop()  # else its thread, which cannot be cancelled, would be waited for
            raise
        except (ErrandFailed, UserError) as err:
            job.status, job.message = "failed", str(err)
        except Exception as err:
            log.exception("a worker could not be used")
            job.status, job.message = "failed", f"{type(err).__name__}: {err}"
        job.ended = time.monotonic()

    def _clear(self, job: Job) -> None:
        """Delete the upload, and all of a job that nobody can ask for."""
        if self.keep:
            return
        if job.upload is not None:
            job.upload.unlink(missing_ok=True)
        if job.status != "done" or job.id not in self.jobs:
            shutil.rmtree(job.folder, ignore_errors=True)

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(min(PURGE_S, self.keep_minutes * 60 / 2))
            old = time.monotonic() - self.keep_minutes * 60
            for job in [job for job in self.jobs.values() if job.ended is not None and job.ended < old]:
                self.remove(job)


# A process that does one errand after the other, and is started anew after it died or took too long.
#
# Decoders of broken films can crash or hang a process; neither must end the page.


Report = Callable[[str, float | None], None]
"""Told the stage, and how much of it is done, in [0, 1], where that is known."""
Doer = Callable[[Any, Report], Any]
Make = Callable[[], tuple[Doer, Any]]
"""Called in the process, once: what does the errands, and facts for the one who starts it."""


class ErrandFailed(RuntimeError):
    """An errand came to nothing; the text is one sentence for the user."""


class Worker:
    """One process; make, errands and answers must be picklable.

    memory_limit: bytes of resident memory; a process that comes near to it is ended.
    Errands are run by one thread at a time; stop() and interrupt() may be called from any. scratch: a folder
    that the process removes should it be left alone.
    """

    def __init__(self, make: Make, *, scratch: Path | None = None, memory_limit: int | None = None) -> None:
        self.make, self.scratch, self.memory_limit = make, scratch, memory_limit
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._lock, self._stopped = threading.Lock(), False

    def start(self) -> Any:
        """Start the process, wait until it is ready and return its facts; raises what make raised."""
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        with self._lock:
            if self._stopped:
                raise ErrandFailed("the page is closing")
            with interrupts_held():
                self._process = context.Process(
                    target=serve, args=(theirs, self.make, self.scratch), daemon=True
                )
                self._process.start()
        theirs.close()  # so that its end is noticed
        try:
            kind, value = self._connection.recv()
        except EOFError:
            self._forget()
            raise ErrandFailed("the process that judges videos ended while it started") from None
        if kind != "ready":
            self._forget()
            raise value
        return value

    def run(self, errand: Any, report: Report, *, limit_s: float) -> Any:
        """What the doer returns; raises ErrandFailed if it raised, died, or took too much time or memory."""
        if self._process is not None and not self._process.is_alive():
            self._forget()  # it died while it had nothing to do, which is not this errand's fault
        if self._process is None:
            report("starting", None)
            self.start()
        assert self._connection is not None
        try:
            self._connection.send(errand)
            end = time.monotonic() + limit_s
            while (left := end - time.monotonic()) > 0:
                if not self._connection.poll(min(left, WATCH_S)):
                    self._check_memory()
                    continue
                kind, value = self._connection.recv()
                if kind == "progress":
                    report(*value)
                elif kind == "done":
                    return value
                else:
                    raise ErrandFailed(value)
        except (EOFError, OSError):
            self._forget()
            raise ErrandFailed(
                "the process that read it crashed, which broken or hostile files can cause"
            ) from None
        self._forget()
        raise ErrandFailed(f"it took longer than {limit_s:g} s (time_limit_s)")

    def _check_memory(self) -> None:
        """End a process that has come near to its limit; raises ErrandFailed then."""
        assert self._process is not None
        if self.memory_limit is not None and near_limit(self._process, self.memory_limit):
            self._forget()
            raise ErrandFailed(
                f"it needed more than {self.memory_limit / 1e9:.1f} GB of memory (memory_limit)"
            )

    def interrupt(self) -> None:
        """End what is running, which then fails."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def stop(self) -> None:
        """End the process for good."""
        with self._lock:
            self._stopped = True
        self.interrupt()

    def _forget(self) -> None:
        with self._lock:
            assert self._process is not None
            assert self._connection is not None
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None


def serve(connection: Connection, make: Make, scratch: Path | None) -> None:
    """What the process does until its parent is gone; then nobody else can remove the scratch folder."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN
        )  # of a terminal that closes; the parent ends this process
    try:
        do, about = make()
    except Exception as err:
        connection.send(("failed", err))
        return
    try:
        connection.send(("ready", about))
        while True:
            connection.send(outcome(do, connection.recv(), lambda *step: connection.send(("progress", step))))
    except (EOFError, OSError):
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def outcome(do: Doer, errand: Any, report: Report) -> tuple[str, Any]:
    """("done", the answer) or ("failed", a sentence for the user)."""
    try:
        return "done", do(errand, report)
    except (UserError, DecodeError) as err:
        return "failed", str(err)
    except Exception as err:
        traceback.print_exc()
        return "failed", f"an unforeseen error stopped it: {type(err).__name__}: {err}"


# One upload -> its prediction, and the files beside it that the page shows.


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
