"""Extract the videos that a face store lacks, in worker processes, and account for every one of them."""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.filesize import decimal
from rich.progress import TextColumn

from deepfake.errors import Stopped, UserError
from deepfake.faces.extract import Extracted, extract_faces
from deepfake.faces.main_face import check_rule, try_mask_shares
from deepfake.faces.remote_store import public
from deepfake.faces.store import FaceStore, missed_face
from deepfake.io import atomic_path, disk_is_full, file_lock, remove_stale
from deepfake.parallel.pool import Executor, Failure, Outcome, progress_bar
from deepfake.records import Video
from deepfake.video.probe import LIMITS, Limits

log = logging.getLogger(__name__)

LOG_EVERY_S = 60  # without a terminal there is no progress bar
RETRY_AFTER_S = 1.0
NUM_ESTIMATED_FROM = 8  # videos from which time and disk space are estimated


@dataclass
class CorpusExtraction:
    """What an extraction did: the manifest's row of every video, and sums over those extracted now.

    failures: reason by video key. seconds: by stage. Wall time starts with the first job.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=lambda: Counter(videos=0, frames=0, faces=0, bytes=0))
    seconds: Counter[str] = field(default_factory=Counter)
    mask_errors: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    started: float | None = None

    def add(self, one: Extracted) -> None:
        """Add the result of one job."""
        now, spent = perf_counter(), sum(one.seconds.values())
        # workers take seconds to start, which says nothing about their pace
        self.started = now - spent if self.started is None else min(self.started, now - spent)
        self.wall_s = now - self.started
        self.counts.update(videos=int(one.bytes > 0), frames=one.frames, faces=one.faces, bytes=one.bytes)
        self.seconds.update(one.seconds)
        if one.mask_error:
            self.mask_errors.append(one.mask_error)

    def rates(self) -> dict[str, float]:
        """Videos, frames and faces per second."""
        names = ("videos", "frames", "faces")
        return {name: self.counts[name] / self.wall_s if self.wall_s else 0.0 for name in names}

    def pace(self) -> str:
        """One line for the progress bar."""
        rates = ", ".join(f"{rate:.3g} {name}/s" for name, rate in self.rates().items())
        return rates + (f", {len(self.failures)} failed" if self.failures else "")

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: counts, rates, wall seconds and seconds by stage."""
        rates = {f"{name}_per_s": round(rate, 3) for name, rate in self.rates().items()}
        stages = {stage: round(seconds, 3) for stage, seconds in sorted(self.seconds.items())}
        return {**self.counts, **rates, "wall_s": round(self.wall_s, 3), "seconds_by_stage": stages}


def extract_corpus(
    store: FaceStore,
    videos: Sequence[Video],
    *,
    executor: Executor | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    main_face: str = "mask",
    limits: Limits = LIMITS,
    extract: Callable[..., Extracted] = extract_faces,
    wait: Callable[[float], object] = time.sleep,
) -> CorpusExtraction:
    """Extract what the store lacks of these videos and write its manifest.

    A video that cannot be read becomes a row with a reason; all others are done. Finished videos are kept.
    Videos that another process is extracting into the same store are waited for. Masks that were added later
    are read without new detection. overwrite: replace what was made with other settings. main_face: rule of
    the main track, see choose. limits: of what is read. Raises UserError if a rule is unknown or the store
    was made with other settings, Stopped if the disk is full.
    """
    check_rule(main_face)
    result = CorpusExtraction(failures=store.fetch([video.key for video in videos]))
    readable = [video for video in videos if video.key not in result.failures]
    missing = {v.key: v for v in readable if not store.has(v.key, v.path, overwrite=overwrite)}
    check_missing(store, missing, overwrite=overwrite)
    if found := len(readable) - len(missing):
        log.info("reusing the faces of %d videos in %s", found, store.root)
    unmasked = [v for v in readable if v.key not in missing and v.mask and store.lacks_mask_shares(v.key)]
    jobs = [
        Extraction(absolute(video), store.absolute(), device, overwrite, limits, extract)
        for video in [*estimation_order(list(missing.values())), *unmasked]
    ]
    try:
        run_all(jobs, executor or Executor(), result, len(missing), wait)
        for folder in store.own_folders:
            remove_stale(folder)
        result.rows = store.write_manifest(videos, result.failures, main_face)
    except OSError as err:
        if disk_is_full(err):
            raise Stopped(
                f"no space left on the disk of {store.root} after {result.counts['videos']} of "
                f"{len(missing)} videos; these are kept: make room and run the same command again, or name "
                "another data.store"
            ) from err
        raise
    log_result(result, store)
    return result


def check_missing(store: FaceStore, missing: Mapping[str, Video], *, overwrite: bool) -> None:
    """Raise UserError if these videos cannot be extracted into the store; warn of those that are replaced."""
    for key, video in missing.items():
        if url := store.url_of(key):
            raise UserError(
                f"the store {public(url)} can only be read, and its faces of {key} are not of "
                f"{video.path} or made with other settings: check data.root, or name a folder as data.store"
            )
    if missing:
        store.check_writable(list(missing))
    if not overwrite and (changed := sum(store.path_of(key).exists() for key in missing)):
        log.warning(
            "%d videos in %s were other files when they were extracted, and are extracted again; give every "
            "data.root a data.store of its own",
            changed,
            store.root,
        )


@dataclass(frozen=True, slots=True)
class Extraction:
    """One video to extract into one store file, or whose mask is to be read for the faces that are there."""

    video: Video
    store: FaceStore
    device: str
    overwrite: bool = False
    limits: Limits = LIMITS
    extract: Callable[..., Extracted] = extract_faces

    def run(self) -> Extracted | None:
        """Do what is still to do; None if another process is extracting this video.

        Raises DecodeError if the video cannot be read; a mask that cannot be read costs only the mask shares.
        """
        video, store, file = self.video, self.store, self.store.path_of(self.video.key)
        with file_lock(file) as mine:
            if not mine:
                return None
            if not store.has(video.key, video.path, overwrite=self.overwrite):
                settings, device, limits = store.settings, self.device, self.limits
                with atomic_path(file, durable=True) as part:
                    extracted = self.extract(
                        video.path, part, settings, device=device, mask=video.mask, limits=limits
                    )
                return replace(extracted, bytes=file.stat().st_size)
            mask_error = ""
            if video.mask and store.lacks_mask_shares(video.key):
                shares, mask_error = try_mask_shares(store.read(video.key), video.mask)
                if shares is not None:
                    store.add_mask_shares(video.key, shares)
            return Extracted(mask_error=mask_error)


def absolute(video: Video) -> Video:
    """The same video for a worker that may have been started in another folder."""
    mask = video.mask.absolute() if video.mask else None
    return replace(video, path=video.path.absolute(), mask=mask)


def run_all(
    jobs: Sequence[Extraction],
    executor: Executor,
    result: CorpusExtraction,
    num_missing: int,
    wait: Callable[[float], object],
) -> None:
    """Run all jobs and add them up; videos that another process is extracting are tried again later."""
    left = jobs
    while left:
        elsewhere = []
        for outcome in run_with_progress(left, executor, result):
            video, extracted = outcome.item.video, outcome.result
            if isinstance(extracted, Failure):
                if disk_is_full(extracted.error) or isinstance(extracted.error, UserError):
                    raise extracted.error
                result.failures[video.key] = extracted.reason
            elif extracted is None:
                elsewhere.append(outcome.item)
            else:
                result.add(extracted)
                enough = extracted.bytes and result.counts["videos"] == NUM_ESTIMATED_FROM
                if enough and needs_estimate(num_missing):
                    log_estimate(num_missing, result, outcome.item.store.path_of(video.key).parent)
        if elsewhere:
            if left is jobs:
                log.info("%d videos are with another extraction: waiting for it", len(elsewhere))
            wait(RETRY_AFTER_S)
        left = elsewhere


def run_with_progress(
    jobs: Sequence[Extraction], executor: Executor, result: CorpusExtraction
) -> Iterator[Outcome[Extraction, Extracted | None]]:
    """Run jobs in any order, with a progress bar, or with one line per minute if there is no terminal."""
    logged = time.monotonic()
    with progress_bar(TextColumn("{task.fields[pace]}")) as progress:
        task = progress.add_task("extracting faces", total=len(jobs), pace="")
        for done, outcome in enumerate(executor.map_unordered(Extraction.run, jobs), 1):
            yield outcome
            progress.update(task, advance=1, pace=result.pace())
            if not progress.console.is_terminal and time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                log.info("extracting faces: %d of %d, %s", done, len(jobs), result.pace())


def needs_estimate(num_videos: int) -> bool:
    """Whether there are so many videos that a few of them are worth estimating from."""
    return num_videos >= 4 * NUM_ESTIMATED_FROM


def estimation_order(videos: Sequence[Video]) -> list[Video]:
    """The videos; if they are many, a few of all sizes come first, from which the rest is estimated."""
    if not needs_estimate(len(videos)):
        return list(videos)
    sizes = [video.path.stat().st_size if video.path.exists() else 0 for video in videos]
    by_size = np.argsort(sizes, kind="stable").tolist()
    step = len(videos) / NUM_ESTIMATED_FROM
    first = [by_size[int((turn + 0.5) * step)] for turn in range(NUM_ESTIMATED_FROM)]
    return [videos[place] for place in dict.fromkeys([*first, *range(len(videos))])]


def log_estimate(num_videos: int, result: CorpusExtraction, folder: Path) -> None:
    """Log what the whole extraction will take at the present pace; warn if the disk is too small for it."""
    size = round(result.counts["bytes"] / result.counts["videos"] * num_videos)
    free = shutil.disk_usage(folder).free + result.counts["bytes"]
    log.info(
        "estimated from the first %d of %d videos, of all sizes: about %s and %s, of %s free",
        result.counts["videos"],
        num_videos,
        time_text(num_videos / result.rates()["videos"]),
        decimal(size),
        decimal(free),
    )
    if size > free:
        log.warning(
            "the disk of %s will be full before the end: name another data.store, or take fewer clips "
            "(faces.num_clips) or smaller crops (faces.max_crop_px, faces.margin)",
            folder,
        )


def log_result(result: CorpusExtraction, store: FaceStore) -> None:
    """Log what the store holds and what was lost."""
    rows = result.rows
    if result.counts["videos"]:
        log.info(
            "extracted %d videos into %s in %s (%s): faces on %d of %d frames",
            result.counts["videos"],
            store.root,
            time_text(result.wall_s),
            decimal(result.counts["bytes"]),
            sum(row["face_frames"] for row in rows),
            sum(row["sampled_frames"] for row in rows),
        )
    rules = Counter(row["main_by"] for row in rows if row["main"] is not None)
    if set(rules) - {"size"}:
        log.info("main face: %s", ", ".join(f"by {rule} in {rules[rule]} videos" for rule in sorted(rules)))
    lost_csv = store.root / "lost.csv"
    lost = [f"{row['video']}: {row['reason']}" for row in rows if row["reason"]]
    missed = [f"{row['video']}: {reason}" for row in rows if (reason := missed_face(row))]
    for what, lines in {
        f"videos gave no face, reasons in {lost_csv}": lost,
        f"fakes without their manipulated face, never trained on, in {lost_csv}": missed,
        "masks could not be read, and the main face is chosen without them": result.mask_errors,
    }.items():
        if lines:
            log.warning("%d %s:", len(lines), what)
            for line in lines[:5]:
                log.warning("  %s", line)


def time_text(seconds: float) -> str:
    """Such as 0:02:54."""
    return str(timedelta(seconds=round(seconds)))
