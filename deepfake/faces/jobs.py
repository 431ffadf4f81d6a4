"""What a worker does for a face store: one video a job."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from deepfake.errors import DecodeError
from deepfake.faces.choose import mask_shares
from deepfake.faces.claims import claim
from deepfake.faces.detect import shared_detector
from deepfake.faces.extract import extract_faces
from deepfake.faces.settings import FaceSettings
from deepfake.faces.stopwatch import Stopwatch
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces
from deepfake.faces.work import Done
from deepfake.records import Video
from deepfake.video.limits import LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Extraction:
    """One video to extract into one store file."""

    video: Video
    store: FaceStore
    device: str
    overwrite: bool = False
    limits: Limits = LIMITS

    def run(self) -> Done:
        """Extract, look at the mask if there is one, write; unless it is done, or being done elsewhere.

        Raises DecodeError if the video cannot be read; an unreadable mask costs only the mask shares.
        """
        key, path = self.video.key, self.video.path
        file = self.store.path_of(key)
        with claim(file) as mine:
            if not mine:
                return Done(elsewhere=True)
            if self.store.has(key, path, overwrite=self.overwrite):
                return Done()
            stopwatch, trouble = Stopwatch(), ""
            faces = faces_of(
                path,
                self.store.settings,
                device=self.device,
                stopwatch=stopwatch,
                spill=file.parent,
                limits=self.limits,
            )
            if self.video.mask is not None:
                with stopwatch.stage("mask"):
                    try:
                        faces = replace(faces, mask_shares=mask_shares(faces, self.video.mask))
                    except DecodeError as err:
                        trouble = str(err)
            with stopwatch.stage("write"):
                self.store.write(key, faces)
            faces.discard()
        return Done(
            videos=1,
            frames=len(faces.sampled),
            faces=len(faces.table),
            bytes=file.stat().st_size,
            seconds=dict(stopwatch.seconds),
            trouble=trouble,
        )


@dataclass(frozen=True, slots=True)
class MaskReading:
    """One video whose faces are in the store already and whose mask was not looked at."""

    video: Video
    store: FaceStore

    def run(self) -> Done:
        """Add the mask shares to the store file, which stays as it is if there is trouble."""
        assert self.video.mask is not None
        with claim(self.store.path_of(self.video.key)) as mine:
            if not mine:
                return Done(elsewhere=True)
            if not self.store.lacks_mask_shares(self.video.key):
                return Done()
            try:
                shares = mask_shares(self.store.read(self.video.key), self.video.mask)
            except DecodeError as err:
                return Done(trouble=str(err))
            self.store.add_mask_shares(self.video.key, shares)
        return Done()


def faces_of(
    path: Path,
    settings: FaceSettings,
    *,
    device: str,
    stopwatch: Stopwatch | None = None,
    spill: Path | None = None,
    limits: Limits = LIMITS,
) -> VideoFaces:
    """extract_faces with this process's detector; spill: a folder for the faces of videos that have many."""
    detector = shared_detector(settings.short_side_px, settings.min_face_px, settings.min_score, device)
    file = None if spill is None else spill / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"  # as sweep knows
    return extract_faces(path, settings, detector, stopwatch, spill=file, limits=limits)


def absolute(video: Video) -> Video:
    """The same video for a worker that may have been started in another folder."""
    mask = video.mask.absolute() if video.mask else None
    return replace(video, path=video.path.absolute(), mask=mask)


def run_job(job: Extraction | MaskReading) -> Done:
    """What a worker does."""
    return job.run()
