"""Fill a face store: extract the videos it lacks on all cores, with progress, and account for every one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake.faces.detect import shared_detector
from deepfake.faces.extract import extract_faces
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel import Failure, map_unordered, progress_bar
from deepfake.records import Video

log = logging.getLogger(__name__)

VIDEOS_A_WORKER = 4  # a worker process takes seconds to start: not worth it for fewer


@dataclass(frozen=True, slots=True)
class Extraction:
    """One video to extract into one store file."""

    video: Video
    store: FaceStore
    device: str

    def run(self) -> None:
        """Extract and write; raises DecodeError if the video cannot be read."""
        self.store.write(self.video.key, faces_of(self.video.path, self.store.settings, device=self.device))


def faces_of(path: Path, settings: FaceSettings, *, device: str) -> VideoFaces:
    """extract_faces with this process's detector."""
    detector = shared_detector(settings.short_side_px, settings.min_face_px, settings.min_score, device)
    return extract_faces(path, settings, detector)


def fill_store(
    store: FaceStore,
    videos: Sequence[Video],
    *,
    num_workers: int | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Extract what the store lacks of these videos and write its manifest, whose rows are returned.

    A video that cannot be read becomes a row with a reason; all others are done. Finished videos are kept
    unless overwrite. Raises UserError if the store was made with other settings.
    """
    missing = [v for v in videos if overwrite or not store.has(v.key)]
    if found := len(videos) - len(missing):
        log.info("reusing the faces of %d videos in %s", found, store.root)
    failures = extract_missing(store, missing, num_workers=num_workers, device=device) if missing else {}
    rows = store.write_manifest(videos, failures)
    report(rows, extracted=len(missing), store=store)
    return rows


def extract_missing(
    store: FaceStore, videos: Sequence[Video], *, num_workers: int | None, device: str
) -> dict[str, str]:
    """Extract these videos with a progress bar; returns the reason of each that failed, by key."""
    failures: dict[str, str] = {}
    workers = 1 if len(videos) < 2 * VIDEOS_A_WORKER else num_workers
    jobs = [Extraction(video, store, device) for video in videos]
    with progress_bar() as progress:
        task = progress.add_task("extracting faces", total=len(jobs))
        for outcome in map_unordered(Extraction.run, jobs, num_workers=workers):
            if isinstance(outcome.result, Failure):
                failures[outcome.item.video.key] = outcome.result.reason
            progress.advance(task)
    return failures


def report(rows: Sequence[dict[str, Any]], *, extracted: int, store: FaceStore) -> None:
    """Log what the store holds and what was lost."""
    lost = [row for row in rows if row["reason"]]
    sampled = sum(row["sampled_frames"] for row in rows)
    with_face = sum(row["face_frames"] for row in rows)
    if extracted:
        log.info(
            "extracted %d videos into %s: faces on %d of %d frames", extracted, store.root, with_face, sampled
        )
    if lost:
        log.warning("%d videos gave no face, reasons in %s:", len(lost), store.root / "lost.csv")
        for row in lost[:5]:
            log.warning("  %s: %s", row["video"], row["reason"])
