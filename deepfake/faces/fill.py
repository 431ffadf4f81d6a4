"""Fill a face store: extract the videos that it lacks, in worker processes, and account for every one."""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from rich.filesize import decimal
from rich.progress import TextColumn

from deepfake.errors import Stopped, UserError
from deepfake.faces.extract import Extracted, extract_faces
from deepfake.faces.main_face import check_rule, try_mask_shares
from deepfake.faces.remote_store import public
from deepfake.faces.store import FaceStore, missed_face
from deepfake.io import atomic_path, disk_is_full, file_lock, remove_stale
from deepfake.parallel import Executor, Failure, Outcome, progress_bar
from deepfake.records import Video
from deepfake.video.limits import LIMITS, Limits

log = logging.getLogger(__name__)

LOG_EVERY_S = 60  # without a terminal there is no progress bar
RETRY_AFTER_S = 1.0
NUM_ESTIMATED_FROM = 8  # videos from which time and disk space are estimated
COUNTS = ("videos", "frames", "faces", "bytes")


@dataclass(frozen=True)
class Filled:
    """A store after it was filled: a manifest row for every video, and the statistics of this extraction."""

    rows: list[dict[str, Any]]
    statistics: Statistics


def fill_store(
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
) -> Filled:
    """Extract what the store lacks of these videos and write its manifest.

    A video that cannot be read becomes a row with a reason; all others are done. Finished videos are kept.
    Videos that another process is extracting into the same store are waited for. Masks that were added later
    are read without new detection. overwrite: replace what was made with other settings. main_face: rule of
    the main track, see choose. limits: of what is read. Raises UserError if a rule is unknown or the store
    was made with other settings, Stopped if the disk is full.
    """
    check_rule(main_face)
    executor = executor or Executor()
    lost = store.fetch([video.key for video in videos])
    missing = [v for v in videos if v.key not in lost and not store.has(v.key, v.path, overwrite=overwrite)]
    for video in missing:
        if url := store.url_of(video.key):
            raise UserError(
                f"the store {public(url)} can only be read, and its faces of {video.key} are not of "
                f"{video.path} or made with other settings: check data.root, or name a folder as data.store"
            )
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
    extracted_before = {video.key for video in videos} - {video.key for video in missing} - lost.keys()
    unmasked = [v for v in videos if v.key in extracted_before and v.mask and store.lacks_mask_shares(v.key)]
    shared = store.absolute()
    jobs = [
        Extraction(absolute(v), shared, device, overwrite, limits, extract) for v in estimation_order(missing)
    ]
    statistics = Statistics(failures=dict(lost))
    try:
        run_all(jobs, executor, statistics, store, title="extracting faces", wait=wait)
        readings = [MaskReading(absolute(video), shared) for video in unmasked]
        run_all(readings, executor, statistics, store, title="reading masks", wait=wait)
        for folder in store.own_folders:
            remove_stale(folder)
        rows = store.write_manifest(videos, statistics.failures, main_face)
    except OSError as err:
        if disk_is_full(err):
            raise Stopped(
                f"no space left on the disk of {store.root} after {statistics.counts['videos']} of "
                f"{len(missing)} videos; these are kept: make room and run the same command again, or name "
                "another data.store"
            ) from err
        raise
    report(rows, statistics, store)
    return Filled(rows, statistics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The result of one job.

    elsewhere: another process is extracting this video. videos: 1 if it was extracted now, 0 if it was
    there already. frames: number of sampled frames. faces: number of crops. bytes: of the store file.
    seconds: by stage. mask_error: why the mask could not be read.
    """

    elsewhere: bool = False
    videos: int = 0
    frames: int = 0
    faces: int = 0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    mask_error: str = ""


@dataclass(frozen=True, slots=True)
class Extraction:
    """One video to extract into one store file."""

    video: Video
    store: FaceStore
    device: str
    overwrite: bool = False
    limits: Limits = LIMITS
    extract: Callable[..., Extracted] = extract_faces

    def run(self) -> Done:
        """Extract, unless the file is there or another process is making it.

        Raises DecodeError if the video cannot be read; a mask that cannot be read costs only the mask shares.
        """
        video, store, file = self.video, self.store, self.store.path_of(self.video.key)
        with file_lock(file) as mine:
            if not mine:
                return Done(elsewhere=True)
            if store.has(video.key, video.path, overwrite=self.overwrite):
                return Done()
            with atomic_path(file, durable=True) as part:
                extracted = self.extract(
                    video.path,
                    part,
                    store.settings,
                    device=self.device,
                    mask=video.mask,
                    limits=self.limits,
                )
        return Done(
            videos=1,
            frames=extracted.frames,
            faces=extracted.faces,
            bytes=file.stat().st_size,
            seconds=extracted.seconds,
            mask_error=extracted.mask_error,
        )


@dataclass(frozen=True, slots=True)
class MaskReading:
    """One video whose faces are in the store and whose mask was not read yet."""

    video: Video
    store: FaceStore

    def run(self) -> Done:
        """Add the mask shares to the store file; a mask that cannot be read leaves the file as it is."""
        assert self.video.mask is not None
        with file_lock(self.store.path_of(self.video.key)) as mine:
            if not mine:
                return Done(elsewhere=True)
            if not self.store.lacks_mask_shares(self.video.key):
                return Done()
            shares, mask_error = try_mask_shares(self.store.read(self.video.key), self.video.mask)
            if shares is not None:
                self.store.add_mask_shares(self.video.key, shares)
        return Done(mask_error=mask_error)


Job = TypeVar("Job", Extraction, MaskReading)


def run_job(job: Extraction | MaskReading) -> Done:
    """Run one job in a worker."""
    return job.run()


def absolute(video: Video) -> Video:
    """The same video for a worker that may have been started in another folder."""
    mask = video.mask.absolute() if video.mask else None
    return replace(video, path=video.path.absolute(), mask=mask)


def run_all(
    jobs: Sequence[Job],
    executor: Executor,
    statistics: Statistics,
    store: FaceStore,
    *,
    title: str,
    wait: Callable[[float], object],
) -> None:
    """Run all jobs and count them; videos that another process is extracting are tried again later."""
    left = jobs
    while left:
        elsewhere = []
        for outcome in run_with_progress(title, left, executor, statistics):
            key, result = outcome.item.video.key, outcome.result
            if isinstance(result, Failure):
                if disk_is_full(result.error) or isinstance(result.error, UserError):
                    raise result.error
                statistics.failures[key] = result.reason
            elif result.elsewhere:
                elsewhere.append(outcome.item)
            else:
                statistics.add(result)
                extracted = statistics.counts["videos"]
                if result.videos and extracted == NUM_ESTIMATED_FROM and needs_estimate(len(jobs)):
                    log_estimate(len(jobs), statistics, store.path_of(key).parent)
        if elsewhere and left is jobs:
            log.info("%d videos are with another extraction: waiting for it", len(elsewhere))
        if elsewhere:
            wait(RETRY_AFTER_S)
        left = elsewhere


def run_with_progress(
    title: str, jobs: Sequence[Job], executor: Executor, statistics: Statistics
) -> Iterator[Outcome[Job, Done]]:
    """Run jobs in any order, with a progress bar, or with one line per minute if there is no terminal."""
    logged = time.monotonic()
    with progress_bar(TextColumn("{task.fields[pace]}")) as progress:
        task = progress.add_task(title, total=len(jobs), pace="")
        for done, outcome in enumerate(executor.map_unordered(run_job, jobs), 1):
            yield outcome
            progress.update(task, advance=1, pace=statistics.pace())
            if not progress.console.is_terminal and time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                log.info("%s: %d of %d, %s", title, done, len(jobs), statistics.pace())


@dataclass
class Statistics:
    """Sums over the jobs of one extraction; failures: reason by video key.

    Wall time starts with the first job.
    """

    failures: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(COUNTS, 0)))
    seconds: Counter[str] = field(default_factory=Counter)
    mask_errors: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    started: float | None = None

    def add(self, done: Done) -> None:
        """Add one job."""
        now, spent = perf_counter(), sum(done.seconds.values())
        # workers take seconds to start, which says nothing about their pace
        self.started = now - spent if self.started is None else min(self.started, now - spent)
        self.wall_s = now - self.started
        self.counts.update({name: getattr(done, name) for name in COUNTS})
        self.seconds.update(done.seconds)
        if done.mask_error:
            self.mask_errors.append(done.mask_error)

    def rate(self, name: str) -> float:
        """Videos, frames, faces or bytes per second."""
        return self.counts[name] / self.wall_s if self.wall_s else 0.0

    def pace(self) -> str:
        """One line for the progress bar."""
        rates = ", ".join(f"{self.rate(name):.3g} {name}/s" for name in ("videos", "frames", "faces"))
        return rates + (f", {len(self.failures)} failed" if self.failures else "")

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: counts, rates, wall seconds and seconds by stage."""
        rates = {f"{name}_per_s": round(self.rate(name), 3) for name in ("videos", "frames", "faces")}
        stages = {stage: round(seconds, 3) for stage, seconds in sorted(self.seconds.items())}
        return {**self.counts, **rates, "wall_s": round(self.wall_s, 3), "seconds_by_stage": stages}


def needs_estimate(num_videos: int) -> bool:
    """Whether there are so many videos that a few of them are worth estimating from."""
    return num_videos >= 4 * NUM_ESTIMATED_FROM


def estimation_order(videos: Sequence[Video]) -> list[Video]:
    """The videos; if they are many, a few of all sizes come first, from which the rest is estimated."""
    if not needs_estimate(len(videos)):
        return list(videos)

    def file_bytes(place: int) -> int:
        try:
            return videos[place].path.stat().st_size
        except OSError:
            return 0

    by_size = sorted(range(len(videos)), key=file_bytes)
    step = len(videos) / NUM_ESTIMATED_FROM
    first = [by_size[int((turn + 0.5) * step)] for turn in range(NUM_ESTIMATED_FROM)]
    return [videos[place] for place in [*first, *sorted(set(range(len(videos))) - set(first))]]


def log_estimate(num_videos: int, statistics: Statistics, folder: Path) -> None:
    """Log what the whole extraction will take at the present pace; warn if the disk is too small for it."""
    size = round(statistics.counts["bytes"] / statistics.counts["videos"] * num_videos)
    free = shutil.disk_usage(folder).free + statistics.counts["bytes"]
    log.info(
        "estimated from the first %d of %d videos, of all sizes: about %s and %s, of %s free",
        statistics.counts["videos"],
        num_videos,
        time_text(num_videos / statistics.rate("videos")),
        decimal(size),
        decimal(free),
    )
    if size > free:
        log.warning(
            "the disk of %s will be full before the end: name another data.store, or take fewer clips "
            "(faces.num_clips) or smaller crops (faces.max_crop_px, faces.margin)",
            folder,
        )


def report(rows: Sequence[dict[str, Any]], statistics: Statistics, store: FaceStore) -> None:
    """Log what the store holds and what was lost."""
    lost = [row for row in rows if row["reason"]]
    if statistics.counts["videos"]:
        log.info(
            "extracted %d videos into %s in %s (%s): faces on %d of %d frames",
            statistics.counts["videos"],
            store.root,
            time_text(statistics.wall_s),
            decimal(statistics.counts["bytes"]),
            sum(row["face_frames"] for row in rows),
            sum(row["sampled_frames"] for row in rows),
        )
    rules = Counter(row["main_by"] for row in rows if row["main"] is not None)
    if set(rules) - {"size"}:
        log.info("main face: %s", ", ".join(f"by {rule} in {rules[rule]} videos" for rule in sorted(rules)))
    lost_csv = store.root / "lost.csv"
    warn_of(f"videos gave no face, reasons in {lost_csv}", [f"{r['video']}: {r['reason']}" for r in lost])
    missed = [f"{row['video']}: {reason}" for row in rows if (reason := missed_face(row))]
    warn_of(f"fakes without their manipulated face, never trained on, in {lost_csv}", missed)
    warn_of("masks could not be read, and the main face is chosen without them", statistics.mask_errors)


def time_text(seconds: float) -> str:
    """Such as 0:02:54."""
    return str(timedelta(seconds=round(seconds)))


def warn_of(what: str, lines: Sequence[str]) -> None:
    """Log how many lines there are, if any, and the first five of them."""
    if lines:
        log.warning("%d %s:", len(lines), what)
        for line in lines[:5]:
            log.warning("  %s", line)
