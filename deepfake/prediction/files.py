"""Files to predictions: one at a call, or many on all cores or a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deepfake.errors import DecodeError, UserError
from deepfake.faces.claims import disk_is_full
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel import Executor, Failure
from deepfake.prediction.collection import Found
from deepfake.prediction.judge import judge
from deepfake.prediction.loaded import LoadedDetector
from deepfake.prediction.reading import FileRead, Stamp, read_file
from deepfake.scoring.prediction import Prediction
from deepfake.text import storable
from deepfake.video.limits import LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Judged:
    """A file that is done: what is said of it, its faces if it could be read, its stamp if it has one."""

    found: Found
    prediction: Prediction
    faces: VideoFaces | None = None
    stamp: Stamp | None = None


def predict_video(path: str | Path, detector: LoadedDetector) -> Prediction:
    """What a detector says of one video or still image: the same as scripts/predict.py.

    detector: of load_detector. Raises UserError where there is no such file, DecodeError where it cannot be
    read. Without a face in it prob is None and the verdict "undetermined".
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    read = read_file(Path(path), detector.recipe.face_settings, device=detector.device)
    if read.faces is None:
        raise DecodeError(read.reason)
    return prediction_of(detector, str(path), read)


def predict_files(
    detector: LoadedDetector,
    files: Sequence[Found],
    executor: Executor,
    *,
    device: str,
    spill: Path | None = None,
    limits: Limits = LIMITS,
) -> Generator[Judged]:
    """Every file as it becomes ready; the executor's workers extract the faces, on device.

    spill: folder, seen by all workers, for faces that are too many for memory: they are gone when the next
    file is asked for.
    Raises what the executor raises, UserError of a worker, and its error where the disk of spill is full; all
    else that befalls a file is its reason.
    """
    by_path = {found.path.absolute(): found for found in files if not found.trouble}
    for found in files:
        if found.trouble:
            yield Judged(found, unreadable(found.name, FileRead(reason=found.trouble)))
    spill = spill and spill.absolute()
    read = partial(
        read_file, settings=detector.recipe.face_settings, device=device, spill=spill, limits=limits
    )
    # by a name that a worker started in another folder finds it under
    for outcome in executor.map_unordered(read, list(by_path)):
        found, result = by_path[outcome.item], outcome.result
        if isinstance(result, Failure):
            if isinstance(result.error, UserError) or disk_is_full(result.error):
                raise result.error
            result = FileRead(reason=result.reason)
        yield Judged(found, prediction_of(detector, found.name, result), result.faces, result.stamp)
        if result.faces is not None:
            result.faces.discard()


def prediction_of(detector: LoadedDetector, name: str, read: FileRead) -> Prediction:
    """What is said of a file that was read, or could not be."""
    if read.faces is None:
        return unreadable(name, read)
    facts = read.stamp.facts() if read.stamp else {}
    return judge(detector.detector, detector.recipe, name, read.faces, facts)


def unreadable(name: str, read: FileRead) -> Prediction:
    """What is said of a file without faces to look for."""
    return Prediction(
        file=name,
        status="error",
        prob=None,
        verdict="undetermined",
        reason=storable(read.reason),
        about=read.stamp.facts() if read.stamp else {},
    )
