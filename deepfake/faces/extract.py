"""Where the seconds of an extraction go."""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
from rich.filesize import decimal
from rich.progress import TextColumn

from deepfake.errors import DecodeError, Stopped, UserError
from deepfake.faces.association import Tracklet
from deepfake.faces.crops import around, cut, encode_jpeg, smooth, square_around
from deepfake.faces.detector import Detector, detect_clip, shared_detector
from deepfake.faces.main_face import check_rule, mask_shares
from deepfake.faces.remote_store import public
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore, missed_face
from deepfake.faces.tracker import Follower, Shot, box_array, follower_for
from deepfake.faces.video_faces import SCHEMA, VideoFaces
from deepfake.io import claim, disk_is_full, sweep
from deepfake.parallel import Executor, Failure, Outcome, progress_bar
from deepfake.records import Detections, Frames, Video, VideoInfo
from deepfake.video.decode import IMAGE_SUFFIXES, read_clips, read_image, shown_part, size_of
from deepfake.video.limits import LIMITS, Limits
from deepfake.video.probe import scan
from deepfake.video.sampling import clip_indices, key_frame_clips, timed_clip_indices

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Stopwatch:
    """Wall seconds by stage, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time the block takes."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start

    def each(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items; the time it takes to get each is added."""
        left = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(left)
                except StopIteration:
                    return
            yield item
            del item  # which may be big, before the next one is made


# Crops of a video that has too many for memory: put aside in a file, then written in order as a table.


SPILL_BYTES = 256 * 2**20
ROWS_AT_ONCE = 256

Row = dict[str, Any]


class Crops:
    """JPEGs, each under a number; beyond max_bytes in all they are in a file in folder that has no name.

    folder: None keeps all in memory. max_bytes: None is SPILL_BYTES.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int | None = None) -> None:
        self.folder = folder
        self.max_bytes = SPILL_BYTES if max_bytes is None else max_bytes
        self.num_bytes = 0
        self.held: list[bytes] = []
        self.spans: list[tuple[int, int]] = []  # first byte and length of each, in the file
        self.file: BinaryIO | None = None

    def __enter__(self) -> Crops:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()

    def put(self, jpeg: bytes) -> int:
        """Put one aside; returns its number."""
        self.spans.append((self.num_bytes, len(jpeg)))
        self.num_bytes += len(jpeg)
        self.held.append(jpeg)
        if self.folder is not None and (self.file is not None or self.num_bytes > self.max_bytes):
            if self.file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.file = TemporaryFile(dir=self.folder)  # noqa: SIM115 (closed on exit)
            self.file.writelines(self.held)
            self.held.clear()
        return len(self.spans) - 1

    def get(self, number: int) -> bytes:
        """The crop of a number."""
        if self.file is None:
            return self.held[number]
        start, length = self.spans[number]
        self.file.seek(start)
        return self.file.read(length)


def gathered(rows: Sequence[Row], crops: Crops, faces: VideoFaces, file: Path | None) -> VideoFaces:
    """faces, which has no rows yet, with these, of SCHEMA but for the crop's number instead of the crop.

    file: written, and read from then on, if the crops were too many for memory.
    """
    if crops.file is None or file is None:
        return replace(faces, table=with_crops(rows, crops, SCHEMA))
    schema = faces.with_metadata().schema
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            writer.write_table(with_crops(rows[start : start + ROWS_AT_ONCE], crops, schema))
    return VideoFaces.from_spilled(file)


def with_crops(rows: Sequence[Row], crops: Crops, schema: pa.Schema) -> pa.Table:
    """Rows as a table, each with the crop of its number."""
    return pa.Table.from_pylist([row | {"jpeg": crops.get(row["jpeg"])} for row in rows], schema=schema)


# What an extraction did and will take: counts, seconds and losses, added up while it runs.


SAMPLE = 8  # videos by which time and disk are estimated
COUNTS = ("videos", "frames", "faces", "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one job.

    elsewhere: another extraction is at this video. videos: 1 if it was extracted here and now, 0 if it was
    found finished. frames: sampled. faces: crops kept. bytes: of the store file. seconds: by stage.
    trouble: what is wrong with the mask, if anything.
    """

    elsewhere: bool = False
    videos: int = 0
    frames: int = 0
    faces: int = 0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    trouble: str = ""


class Work:
    """The sum over jobs; failures: reason by video key. Wall time runs from the first job's start."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self.seconds: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self.troubles: list[str] = []
        self.wall_s = 0.0
        self._start: float | None = None

    def add(self, done: Done) -> None:
        """Count one job in."""
        now, spent = perf_counter(), sum(done.seconds.values())
        # workers take seconds to start, which says nothing of their pace
        self._start = now - spent if self._start is None else min(self._start, now - spent)
        self.wall_s = now - self._start
        self.counts.update({name: getattr(done, name) for name in COUNTS})
        self.seconds.update(done.seconds)
        if done.trouble:
            self.troubles.append(done.trouble)

    def rate(self, name: str) -> float:
        """Videos, frames, faces or bytes a second."""
        return self.counts[name] / self.wall_s if self.wall_s else 0.0

    def pace(self) -> str:
        """One line while it runs."""
        rates = ", ".join(f"{self.rate(name):.3g} {name}/s" for name in ("videos", "frames", "faces"))
        return rates + (f", {len(self.failures)} failed" if self.failures else "")

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: counts, rates, wall and stage seconds."""
        rates = {f"{name}_per_s": round(self.rate(name), 3) for name in ("videos", "frames", "faces")}
        stages = {stage: round(seconds, 3) for stage, seconds in sorted(self.seconds.items())}
        return {**self.counts, **rates, "wall_s": round(self.wall_s, 3), "seconds_by_stage": stages}


def worth_foreseeing(num_videos: int) -> bool:
    """Whether a sample is so small a part that an estimate helps."""
    return num_videos >= 4 * SAMPLE


def in_sampled_order(videos: Sequence[Video]) -> list[Video]:
    """All videos; if they are many, SAMPLE of all sizes first, by which the rest can be estimated."""
    if not worth_foreseeing(len(videos)):
        return list(videos)
    by_size = sorted(range(len(videos)), key=lambda place: file_bytes(videos[place].path))
    step = len(videos) / SAMPLE
    first = [by_size[int((turn + 0.5) * step)] for turn in range(SAMPLE)]
    return [videos[place] for place in [*first, *sorted(set(range(len(videos))) - set(first))]]


def foresee(num_videos: int, work: Work, folder: Path) -> None:
    """Say what the whole extraction will take, by the pace so far; warn of a disk too small for it."""
    size = round(work.counts["bytes"] / work.counts["videos"] * num_videos)
    free = shutil.disk_usage(folder).free + work.counts["bytes"]
    log.info(
        "by the first %d of %d videos, of all sizes: about %s and %s, of %s free",
        work.counts["videos"],
        num_videos,
        time_text(num_videos / work.rate("videos")),
        decimal(size),
        decimal(free),
    )
    if size > free:
        log.warning(
            "the disk of %s will be full before the end: name another data.store, or take fewer clips "
            "(faces.num_clips) or smaller crops (faces.max_crop_px, faces.margin)",
            folder,
        )


def time_text(seconds: float) -> str:
    """Such as 0:02:54."""
    return str(timedelta(seconds=round(seconds)))


def file_bytes(path: Path) -> int:
    """Bytes of a file; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


# One video or image to its faces: sampled clips, decoded in order, held one clip at a time.


def extract_faces(
    path: Path,
    settings: FaceSettings,
    detector: Detector,
    stopwatch: Stopwatch | None = None,
    *,
    spill: Path | None = None,
    limits: Limits = LIMITS,
) -> VideoFaces:
    """Every tracked face of the sampled frames of a video, or of the one frame of a still image.

    stopwatch: told the seconds of each stage. spill: file that is made for the faces if their crops are more
    than SPILL_BYTES; without it all are held in memory. Raises DecodeError if the file cannot be read. A file
    without any face gives an empty table.
    """
    stopwatch = stopwatch or Stopwatch()
    with stopwatch.stage("scan"):
        info, clips = sample(path, settings, limits)
    follower = follower_for(settings)
    sampled: list[int] = []
    rows: list[Row] = []
    with Crops(spill.parent if spill else None) as crops:
        clips = stopwatch.each("decode", clips)
        unbroken = settings.num_clips is None
        for clip, first_step, shot in numbered(clips, follower, stopwatch, unbroken=unbroken):
            sampled += shot.frames.index.tolist()
            with stopwatch.stage("detect"):
                detections, detected = detect_clip(
                    shot.frames.rgb,
                    detector,
                    every=settings.detect_every,
                    min_agreement=settings.min_agreement,
                    doubt=follower.doubt(shot),
                )
            with stopwatch.stage("follow"):
                followed = follower.follow(shot, detections)
            with stopwatch.stage("crop"):
                for row, jpeg in shot_rows(shot.frames, detections, followed, settings):
                    step = row["step"]
                    place = {"clip": clip, "step": first_step + step, "detected": bool(detected[step])}
                    rows.append(row | place | {"jpeg": crops.put(jpeg)})
            del shot  # before the next one is decoded
        size = path.stat().st_size
        faces = VideoFaces(to_table([]), info, settings, tuple(sampled), source_bytes=size)
        return gathered(rank_tracks(rows), crops, faces, spill)


def numbered(
    clips: Iterable[Frames], follower: Follower, stopwatch: Stopwatch, *, unbroken: bool
) -> Iterator[tuple[int, int, Shot]]:
    """Clip number, step of its first frame, and each shot of the clips; every shot is a clip of its own.

    unbroken: a clip's first frame follows the last one's last, and a shot goes on with it unless there is a
    cut. Whoever takes a shot lets go of it before the next one is made.
    """
    clip, step = -1, 0
    for frames in clips:
        with stopwatch.stage("follow"):
            shots = follower.shots(frames)
        del frames
        while shots:
            shot = shots.pop(0)
            num_frames = len(shot.frames)
            if clip < 0 or shot.is_new or not unbroken:
                clip, step = clip + 1, 0
            yield clip, step, shot
            del shot
            step += num_frames


def sample(path: Path, settings: FaceSettings, limits: Limits = LIMITS) -> tuple[VideoInfo, Iterator[Frames]]:
    """What the file is, and its sampled clips as an iterator that decodes as it goes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        image = read_image(path, limits)
        height, width = image.rgb[0].shape[:2]
        info = VideoInfo(
            num_frames=1,
            fps=0.0,
            width=width,
            height=height,
            rotation_deg=0,
            codec="image",
            container="image",
            duration_s=0.0,
        )
        return info, iter([image])
    scanned = scan(path, limits)
    info = scanned.info
    if settings.at_key_frames and settings.sample_fps is None:
        clips = key_frame_clips(
            info.num_frames, scanned.keys, num_clips=settings.num_clips, clip_frames=settings.clip_frames
        )
    elif settings.sample_fps is None:
        clips = clip_indices(info.num_frames, num_clips=settings.num_clips, clip_frames=settings.clip_frames)
    else:
        clips = timed_clip_indices(
            scanned.time_s,
            num_clips=settings.num_clips,
            clip_frames=settings.clip_frames,
            sample_fps=settings.sample_fps,
        )
    return info, read_clips(path, clips, scanned=scanned)


def shot_rows(
    frames: Frames,
    detections: Sequence[Detections],
    followed: Sequence[tuple[int, Tracklet]],
    settings: FaceSettings,
) -> Iterator[tuple[Row, bytes]]:
    """A row and a crop for every face, frame by frame; followed: number and tracklet of each track."""
    boxes: dict[tuple[int, int], np.ndarray] = {}  # by track and step
    for track, tracklet in followed:
        steps = np.array(sorted(tracklet))
        own = box_array([detections[step].boxes[tracklet[step]] for step in steps])
        smoothed = smooth(own, steps, settings.smooth_frames)
        boxes |= {(track, step): box for step, box in zip(steps.tolist(), smoothed, strict=True)}
    for step in range(len(frames)):
        here = [(track, tracklet[step]) for track, tracklet in followed if step in tracklet]
        if not here:
            continue
        squares = [square_around(boxes[track, step], settings.margin) for track, _ in here]
        rows, columns = around(squares, size_of(frames.rgb, step))
        rgb = shown_part(frames.rgb, step, (rows, columns))
        for (track, which), square in zip(here, squares, strict=True):
            box, found = boxes[track, step], detections[step]
            x0, y0, side = square
            crop = cut(rgb, (x0 - columns.start, y0 - rows.start, side), settings.max_crop_px)
            row = {
                "track": track,
                "step": step,
                "frame": int(frames.index[step]),
                "time_s": float(frames.time_s[step]),
                "box": box.tolist(),
                "landmarks": found.landmarks[which].ravel().tolist(),
                "score": float(found.scores[which]),
                "square": list(square),
            }
            yield row, encode_jpeg(crop, settings.jpeg_quality)


def rank_tracks(rows: list[Row]) -> list[Row]:
    """Rows ordered by track, clip and step, tracks renumbered by their total face area, largest first."""
    area: dict[int, float] = {}
    for row in rows:
        x0, y0, x1, y1 = row["box"]
        area[row["track"]] = area.get(row["track"], 0.0) + (x1 - x0) * (y1 - y0)
    rank = {track: place for place, track in enumerate(sorted(area, key=lambda t: (-area[t], t)))}
    ranked = [row | {"track": rank[row["track"]]} for row in rows]
    return sorted(ranked, key=lambda row: (row["track"], row["clip"], row["step"]))


def to_table(rows: list[Row]) -> pa.Table:
    """Rows as one chunk of SCHEMA."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


# What a worker does for a face store: one video a job.


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


# Fill a face store: extract the videos it lacks, on all cores or a cluster, and account for every one.


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
