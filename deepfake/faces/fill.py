"""Fill a face store: extract the videos it lacks on all cores, with progress, and account for every one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from deepfake.errors import DecodeError
from deepfake.faces.choose import check_rule, mask_shares
from deepfake.faces.detect import shared_detector
from deepfake.faces.extract import extract_faces
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore, missed_face
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel import Failure, Outcome, map_unordered, progress_bar
from deepfake.records import Video

log = logging.getLogger(__name__)

Job = TypeVar("Job", "Extraction", "MaskReading")

VIDEOS_A_WORKER = 4  # a worker process takes seconds to start: not worth it for fewer


@dataclass(frozen=True, slots=True)
class Extraction:
    """One video to extract into one store file."""

    video: Video
    store: FaceStore
    device: str

    def run(self) -> str:
        """Extract, look at the mask if there is one, write; returns what is wrong with the mask, if anything.

        Raises DecodeError if the video cannot be read; an unreadable mask costs only the mask shares.
        """
        faces, trouble = faces_of(self.video.path, self.store.settings, device=self.device), ""
        if self.video.mask is not None:
            try:
                faces = replace(faces, mask_shares=mask_shares(faces, self.video.mask))
            except DecodeError as err:
                trouble = str(err)
        self.store.write(self.video.key, faces)
        return trouble


@dataclass(frozen=True, slots=True)
class MaskReading:
    """One video whose faces are in the store already and whose mask was not looked at."""

    video: Video
    store: FaceStore

    def run(self) -> str:
        """Add the mask shares to the store file, which stays as it is if there is trouble, returned."""
        assert self.video.mask is not None
        try:
            shares = mask_shares(self.store.read(self.video.key), self.video.mask)
        except DecodeError as err:
            return str(err)
        self.store.add_mask_shares(self.video.key, shares)
        return ""


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
    main_face: str = "mask",
) -> list[dict[str, Any]]:
    """Extract what the store lacks of these videos and write its manifest, whose rows are returned.

    A video that cannot be read becomes a row with a reason; all others are done. Finished videos are kept
    unless overwrite; masks that came later are looked at, without new detection. main_face: rule of the
    main track, see choose. Raises UserError if that is unknown or the store was made with other settings.
    """
    check_rule(main_face)
    missing = [v for v in videos if overwrite or not store.has(v.key, v.path)]
    if not overwrite and (changed := sum(store.path_of(v.key).exists() for v in missing)):
        log.warning(
            "%d videos in %s were other files when they were extracted, and are extracted again; give every "
            "data.root a data.store of its own",
            changed,
            store.root,
        )
    if found := len(videos) - len(missing):
        log.info("reusing the faces of %d videos in %s", found, store.root)
    new = {video.key for video in missing}
    unmasked = [v for v in videos if v.mask and v.key not in new and store.lacks_mask_shares(v.key)]
    failures, mask_troubles = extract_missing(store, missing, num_workers=num_workers, device=device)
    mask_troubles += read_masks(store, unmasked, num_workers=num_workers)
    rows = store.write_manifest(videos, failures, main_face)
    report(rows, extracted=len(missing), store=store)
    warn_of("masks could not be read, and the main face is chosen without them", mask_troubles)
    return rows


def extract_missing(
    store: FaceStore, videos: Sequence[Video], *, num_workers: int | None, device: str
) -> tuple[dict[str, str], list[str]]:
    """Extract these videos; returns the reason of each that failed, by key, and what is wrong with masks."""
    jobs = [Extraction(video, store, device) for video in videos]
    failures: dict[str, str] = {}
    mask_troubles: list[str] = []
    for outcome in run_jobs("extracting faces", jobs, num_workers=num_workers):
        if isinstance(outcome.result, Failure):
            failures[outcome.item.video.key] = outcome.result.reason
        elif outcome.result:
            mask_troubles.append(outcome.result)
    return failures, mask_troubles


def read_masks(store: FaceStore, videos: Sequence[Video], *, num_workers: int | None) -> list[str]:
    """Add mask shares to the stored faces of these videos; returns what is wrong with masks."""
    jobs = [MaskReading(video, store) for video in videos]
    results = [outcome.result for outcome in run_jobs("reading masks", jobs, num_workers=num_workers)]
    return [r.reason if isinstance(r, Failure) else r for r in results if r]


def run_jobs(title: str, jobs: Sequence[Job], *, num_workers: int | None) -> Iterator[Outcome[Job, str]]:
    """Run jobs in any order, with a progress bar if there are any."""
    if not jobs:
        return
    workers = 1 if len(jobs) < 2 * VIDEOS_A_WORKER else num_workers
    with progress_bar() as progress:
        task = progress.add_task(title, total=len(jobs))
        for outcome in map_unordered(run_job, jobs, num_workers=workers):
            yield outcome
            progress.advance(task)


def run_job(job: Extraction | MaskReading) -> str:
    """What a worker does."""
    return job.run()


def report(rows: Sequence[dict[str, Any]], *, extracted: int, store: FaceStore) -> None:
    """Log what the store holds and what was lost."""
    lost = [row for row in rows if row["reason"]]
    sampled = sum(row["sampled_frames"] for row in rows)
    with_face = sum(row["face_frames"] for row in rows)
    if extracted:
        log.info(
            "extracted %d videos into %s: faces on %d of %d frames", extracted, store.root, with_face, sampled
        )
    chosen = Counter(row["main_by"] for row in rows if row["main"] is not None)
    if set(chosen) - {"size"}:
        log.info("main face: %s", ", ".join(f"by {rule} in {chosen[rule]} videos" for rule in sorted(chosen)))
    lost_csv = store.root / "lost.csv"
    warn_of(f"videos gave no face, reasons in {lost_csv}", [f"{r['video']}: {r['reason']}" for r in lost])
    missed = [f"{row['video']}: {reason}" for row in rows if (reason := missed_face(row))]
    warn_of(f"fakes without their manipulated face, never trained on, in {lost_csv}", missed)


def warn_of(what: str, lines: Sequence[str]) -> None:
    """Log how many lines say what went wrong, if any does, and the first five of them."""
    if lines:
        log.warning("%d %s:", len(lines), what)
        for line in lines[:5]:
            log.warning("  %s", line)
