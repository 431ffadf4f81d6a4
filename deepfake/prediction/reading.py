"""What a worker does for prediction: one file, its faces and the facts by which it is known again."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepfake.errors import DecodeError, UserError
from deepfake.faces.claims import disk_is_full
from deepfake.faces.jobs import faces_of
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel import Failure
from deepfake.video.limits import LIMITS, Limits, check_file


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and time of change of a file, by which another one under its name is noticed, and its SHA-256."""

    bytes: int
    mtime_ns: int
    sha256: str

    def facts(self) -> dict[str, Any]:
        """As they stand in Prediction.about."""
        modified = datetime.fromtimestamp(self.mtime_ns / 1e9, UTC).isoformat(timespec="microseconds")
        return {"sha256": self.sha256, "bytes": self.bytes, "modified": modified}


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file's faces, or the reason why there are none; its stamp unless it could not even be read."""

    faces: VideoFaces | None = None
    reason: str = ""
    stamp: Stamp | None = None


def read_file(
    path: Path,
    settings: FaceSettings,
    *,
    device: str,
    spill: Path | None = None,
    limits: Limits = LIMITS,
) -> FileRead:
    """Extract a file's faces and stamp it; what is wrong with the file is a reason, and no error.

    spill: folder for faces that are too many for memory, a file each; see VideoFaces.discard.
    The hash is taken after extraction, which leaves the file in the system's cache, and is that of what was
    extracted: a file that changes meanwhile is not scored. Raises UserError for wrong settings, OSError where
    spill has no room.
    """
    try:
        check_file(path, limits)
        before = os.stat(path)
        faces, reason = extract(path, settings, device, spill, limits)
        stamp = Stamp(before.st_size, before.st_mtime_ns, sha256(path))
        after = os.stat(path)
    except (OSError, DecodeError) as err:
        if disk_is_full(err):
            raise
        return FileRead(reason=Failure(err).reason)
    if (after.st_size, after.st_mtime_ns, after.st_ino) != (stamp.bytes, stamp.mtime_ns, before.st_ino):
        return FileRead(reason=f"{path}: it changed while it was read")
    return FileRead(faces, reason, stamp)


def extract(
    path: Path, settings: FaceSettings, device: str, spill: Path | None, limits: Limits
) -> tuple[VideoFaces | None, str]:
    """Faces, or why there are none."""
    try:
        return faces_of(path, settings, device=device, spill=spill, limits=limits), ""
    except UserError:
        raise
    except Exception as err:
        if disk_is_full(err):
            raise
        # decoders raise many kinds, and one file is to cost no other
        return None, Failure(err).reason


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
