"""Fill a face store: extract the videos it lacks, on all cores or a cluster, and account for every one."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.filesize import decimal
from rich.progress import TextColumn

from deepfake.errors import Stopped, UserError
from deepfake.faces.choose import check_rule
from deepfake.faces.claims import disk_is_full, sweep
from deepfake.faces.jobs import Extraction, MaskReading, absolute, run_job
from deepfake.faces.mirror import public
from deepfake.faces.store import FaceStore, missed_face
from deepfake.faces.work import SAMPLE, Done, Work, foresee, in_sampled_order, time_text, worth_foreseeing
from deepfake.parallel import Executor, Failure, Outcome, progress_bar
from deepfake.records import Video
from deepfake.video.limits import LIMITS, Limits

log = logging.getLogger(__name__)

Job = TypeVar("Job", Extraction, MaskReading)

LOG_EVERY_S = 60  # where nobody sees the progress bar
LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Filled:
    """A store after it was filled: a manifest row for every video, and the work it took now."""

    rows: list[dict[str, Any]]
    work: Work


def fill_store(
    store: FaceStore,
    videos: Sequence[Video],
    *,
    executor: Executor | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    main_face: str = "mask",
    limits: Limits = LIMITS,
) -> Filled:
    """Extract what the store lacks of these videos and write its manifest.

    A video that cannot be read becomes a row with a reason; all others are done. Finished videos are kept,
    and those that another process is filling the same store with are waited for; masks that came later are
    looked at, without new detection. overwrite: replace what was made with other settings. main_face: rule
    of the main track, see choose. limits: of what is read. Raises UserError if a rule is unknown or the
    store was made with other settings, Stopped if the disk is full.
    """
    check_rule(main_face)
    executor = executor or Executor()
    lost = store.fetch([video.key for video in videos])
    missing = [v for v in videos if v.key not in lost and not store.has(v.key, v.path, overwrite=overwrite)]
    refuse_to_extract_elsewhere(store, missing)
    if missing:
        store.check_writable([video.key for video in missing])
    if not overwrite and (changed := sum(store.path_of(v.key).exists() for v in missing)):
        log.warning(
            "%d videos in %s were other files when they were extracted, and are extracted again; give every "
            "data.root a data.store of its own",
            changed,
            store.root,
        )
    if found := len(videos) - len(missing) - len(lost):
        log.info("reusing the faces of %d videos in %s", found, store.root)
    new = {video.key for video in missing}
    there = [video for video in videos if video.key not in new | lost.keys()]
    unmasked = [video for video in there if video.mask and store.lacks_mask_shares(video.key)]
    shared = store.absolute()
    jobs = [Extraction(absolute(v), shared, device, overwrite, limits) for v in in_sampled_order(missing)]
    work = Work()
    work.failures |= lost
    try:
        run_all("extracting faces", jobs, executor, work, store)
        run_all("reading masks", [MaskReading(absolute(v), shared) for v in unmasked], executor, work, store)
        for folder in store.own_folders:
            sweep(folder)
        rows = store.write_manifest(videos, work.failures, main_face)
    except OSError as err:
        if disk_is_full(err):
            raise full_disk(store, work, len(missing)) from err
        raise
    report(rows, work, store)
    return Filled(rows, work)


def refuse_to_extract_elsewhere(store: FaceStore, missing: Sequence[Video]) -> None:
    """Raise UserError if a store that is only read holds other files or settings than are wanted."""
    for video in missing:
        if url := store.url_of(video.key):
            raise UserError(
                f"the store {public(url)} can only be read, and its faces of {video.key} are not of "
                f"{video.path} or made with other settings: check data.root, or name a folder as data.store"
            )


def run_all(title: str, jobs: Sequence[Job], executor: Executor, work: Work, store: FaceStore) -> None:
    """Run all jobs and count them into work; what another process is at is waited for and looked at again."""
    left = jobs
    while left:
        elsewhere = []
        for outcome in run_jobs(title, left, executor, work):
            key, result = outcome.item.video.key, outcome.result
            if isinstance(result, Failure):
                if disk_is_full(result.error) or isinstance(result.error, UserError):
                    raise result.error
                work.failures[key] = result.reason
            elif result.elsewhere:
                elsewhere.append(outcome.item)
            else:
                work.add(result)
                if result.videos and work.counts["videos"] == SAMPLE and worth_foreseeing(len(jobs)):
                    foresee(len(jobs), work, store.path_of(key).parent)
        if elsewhere and left is jobs:
            log.info("%d videos are with another extraction: waiting for it", len(elsewhere))
        if elsewhere:
            time.sleep(LOOK_AGAIN_S)
        left = elsewhere


def run_jobs(title: str, jobs: Sequence[Job], executor: Executor, work: Work) -> Iterator[Outcome[Job, Done]]:
    """Run jobs in any order, with a progress bar, or a line a minute where there is no terminal."""
    logged = time.monotonic()
    with progress_bar(TextColumn("{task.fields[pace]}")) as progress:
        task = progress.add_task(title, total=len(jobs), pace="")
        for done, outcome in enumerate(executor.map_unordered(run_job, jobs), 1):
            yield outcome
            progress.update(task, advance=1, pace=work.pace())
            if not progress.console.is_terminal and time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                log.info("%s: %d of %d, %s", title, done, len(jobs), work.pace())


def full_disk(store: FaceStore, work: Work, num_videos: int) -> Stopped:
    """What to say when nothing more can be written."""
    return Stopped(
        f"no space left on the disk of {store.root} after {work.counts['videos']} of {num_videos} videos; "
        "these are kept: make room and run the same command again, or name another data.store"
    )


def report(rows: Sequence[dict[str, Any]], work: Work, store: FaceStore) -> None:
    """Log what the store holds and what was lost."""
    lost = [row for row in rows if row["reason"]]
    sampled = sum(row["sampled_frames"] for row in rows)
    with_face = sum(row["face_frames"] for row in rows)
    if work.counts["videos"]:
        log.info(
            "extracted %d videos into %s in %s (%s): faces on %d of %d frames",
            work.counts["videos"],
            store.root,
            time_text(work.wall_s),
            decimal(work.counts["bytes"]),
            with_face,
            sampled,
        )
    chosen = Counter(row["main_by"] for row in rows if row["main"] is not None)
    if set(chosen) - {"size"}:
        log.info("main face: %s", ", ".join(f"by {rule} in {chosen[rule]} videos" for rule in sorted(chosen)))
    lost_csv = store.root / "lost.csv"
    warn_of(f"videos gave no face, reasons in {lost_csv}", [f"{r['video']}: {r['reason']}" for r in lost])
    missed = [f"{row['video']}: {reason}" for row in rows if (reason := missed_face(row))]
    warn_of(f"fakes without their manipulated face, never trained on, in {lost_csv}", missed)
    warn_of("masks could not be read, and the main face is chosen without them", work.troubles)


def warn_of(what: str, lines: Sequence[str]) -> None:
    """Log how many lines say what went wrong, if any does, and the first five of them."""
    if lines:
        log.warning("%d %s:", len(lines), what)
        for line in lines[:5]:
            log.warning("  %s", line)
