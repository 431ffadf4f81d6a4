"""What a run has finished, on disk: a line a file, written as soon as it is done."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from errno import ENOSPC
from io import BytesIO
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from PIL import Image

from deepfake.prediction.detector import sha256
from deepfake.prediction.inputs import InputFile
from deepfake.prediction.predictor import ScoredFile
from deepfake.scoring.prediction import FaceShot, Prediction

VERDICTS = ("fake", "real", "undetermined")
NUMBERS = ("width", "height", "frames", "fps", "duration_s", "rotation_deg", "bytes")
"""Facts about a file that pages calculate with."""
STAMP = {"path": str, "bytes": int | None, "mtime_ns": int | None}
MAX_NUMBER = 2**64
MAX_PORTRAIT_PX = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a file's line starts, and the file it was true of."""

    offset: int
    ok: bool
    bytes: int | None
    mtime_ns: int | None


class Journal:
    """The predictions of a run, in a file of JSON lines that holds them so that memory need not.

    A line has the job that it was made by (LoadedDetector.job), the file's path, size and time, the
    prediction, and a small picture of the face that decided. Of several lines of a file the last one counts;
    lines of other jobs, and one that a killed run left unfinished, do not.
    """

    def __init__(self, path: Path, job: str, *, resume: bool) -> None:
        self.path, self.job = path, job
        self.entries: dict[str, Entry] = {}
        if not resume:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._find_entries()

    def _find_entries(self) -> None:
        whole = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._note(whole, line)
                whole += len(line)
        os.truncate(self.path, whole)

    def _note(self, offset: int, line: bytes) -> None:
        try:
            record = json.loads(line)
            if record["job"] == self.job:
                check_record(record)
                ok = record["prediction"]["status"] == "ok"
                entry = Entry(offset, ok, record["bytes"], record["mtime_ns"])
                self.entries[record["path"]] = entry
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError):
            pass  # not written by us: its file is done again

    def holds(self, found: InputFile) -> bool:
        """Whether a file is finished, and still the same: its size and its time or else its content.

        One that could not be read is not finished.
        """
        entry = self.entries.get(str(found.path))
        if entry is None or not entry.ok:
            return False
        try:
            now = os.stat(found.path)
            if now.st_size != entry.bytes:
                return False
            return now.st_mtime_ns == entry.mtime_ns or self._same_content(found, entry)
        except OSError:
            return False

    def _same_content(self, found: InputFile, entry: Entry) -> bool:
        return self._record(entry)["prediction"]["about"].get("sha256") == sha256(found.path)

    def forget(self, found: InputFile) -> None:
        """Leave out what is known of a file that is to be done anew."""
        self.entries.pop(str(found.path), None)

    def add(self, judged: ScoredFile) -> None:
        """Write a finished file's line; raises OSError if there is no room for it."""
        stamp, prediction = judged.stamp, judged.prediction
        path, ok = str(judged.found.path), prediction.status == "ok"
        size, mtime_ns = (stamp.bytes, stamp.mtime_ns) if stamp else (None, None)
        record: dict[str, Any] = {"job": self.job, "path": path, "bytes": size, "mtime_ns": mtime_ns}
        record |= {"prediction": prediction.to_dict(), "portrait": portrait_of(prediction)}
        line = json.dumps(record).encode() + b"\n"
        # unbuffered, so that a process that is killed leaves all lines but the one that it was at
        with self.path.open("ab", buffering=0) as file:
            offset = file.tell()
            if file.write(line) != len(line):
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(self.path))
        self.entries[path] = Entry(offset, ok, size, mtime_ns)

    def predictions(self, files: Iterable[InputFile]) -> Iterator[Prediction]:
        """The predictions of those of some files that have one, in the order of files, one in memory.

        Their only picture is the small one of the face that decided.
        """
        for found in files:
            if entry := self.entries.get(str(found.path)):
                record = self._record(entry)
                prediction = Prediction.from_dict(record["prediction"])
                yield replace(prediction, suspicious=shots_of(record["portrait"]))

    def _record(self, entry: Entry) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(entry.offset)
            return json.loads(file.readline())


def check_record(record: Mapping[str, Any]) -> None:
    """Raise ValueError, TypeError, KeyError or OSError for a line that this module does not write."""
    prediction, shots = Prediction.from_dict(record["prediction"]), shots_of(record["portrait"])
    check_type({name: record[name] for name in ("path", "bytes", "mtime_ns")}, STAMP)
    check_type(asdict(replace(prediction, suspicious=shots)), get_type_hints(Prediction))
    if prediction.status not in ("ok", "error") or prediction.verdict not in VERDICTS:
        raise ValueError("no status or no verdict of that name")
    for name, value in prediction.about.items():
        check_type(value, int | float | None if name in NUMBERS else str | int | float | None)
    for shot in shots:
        with Image.open(BytesIO(shot.jpeg), formats=["JPEG"]) as image:
            if max(image.size) > MAX_PORTRAIT_PX:
                raise ValueError("a picture larger than a portrait")
            image.load()


def check_type(value: Any, hint: Any) -> None:
    """Raise TypeError unless a value has a type; ValueError for a number that no prediction has.

    hint: a type, a union, a tuple, or a dict of types by name, as which dataclasses are given.
    """
    if isinstance(hint, dict):
        for name, part in hint.items():
            check_type(value[name], part)
    elif is_dataclass(hint):
        check_type(value, get_type_hints(hint))
    elif get_origin(hint) is UnionType:
        if not isinstance(value, hint):
            raise TypeError(f"{value!r:.80} is no {hint}")
        check_number(value)
    elif get_origin(hint) is tuple:
        parts = get_args(hint)
        parts = (parts[0],) * len(value) if parts[-1] is Ellipsis else parts
        for item, part in zip(value, parts, strict=True):
            check_type(item, part)
    elif not isinstance(value, int | float if hint is float else get_origin(hint) or hint):
        raise TypeError(f"{value!r:.80} is no {hint}")
    else:
        check_number(value)


def check_number(value: Any) -> None:
    """Raise ValueError for a number that is not finite or has more digits than any time in nanoseconds."""
    if isinstance(value, int | float) and not abs(value) < MAX_NUMBER:
        raise ValueError("no number of a prediction")


def portrait_of(prediction: Prediction) -> dict[str, Any] | None:
    """The face that decided, reduced, with JPEG as text."""
    if not prediction.suspicious:
        return None
    from deepfake.reports.html import image_uri

    shot = prediction.suspicious[0]
    jpeg = image_uri(shot.jpeg).partition(",")[2]
    return {"track": shot.track, "frame": shot.frame, "time_s": shot.time_s, "prob": shot.prob, "jpeg": jpeg}


def shots_of(portrait: dict[str, Any] | None) -> tuple[FaceShot, ...]:
    """Inverse of portrait_of."""
    return () if portrait is None else (FaceShot(**{**portrait, "jpeg": b64decode(portrait["jpeg"])}),)
