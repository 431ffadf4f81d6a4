"""The faces of one video or image, from the file to a file of the face store.

Sampled clips are decoded in order, one clip in memory at a time. Everything that needs faces goes through
extract_faces: filling a store, prediction and the app; prediction and the app use a temporary folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import SpooledTemporaryFile
from time import perf_counter
from typing import IO, Any

import numpy as np
import pyarrow as pa

from deepfake.faces.association import Tracklet
from deepfake.faces.detector import Detector, detect_clip, shared_detector
from deepfake.faces.settings import FaceSettings
from deepfake.faces.tracker import Shot, Tracker, box_array
from deepfake.faces.video_faces import (
    SCHEMA,
    SourceFile,
    VideoFaces,
    crop_square,
    encode_jpeg,
    region_of,
    smooth,
    square_around,
    to_table,
)
from deepfake.records import Detections, Frames, VideoInfo
from deepfake.video.decode import IMAGE_SUFFIXES, frame_size, read_clips, read_image, rgb_region
from deepfake.video.probe import LIMITS, Limits, scan
from deepfake.video.sampling import clip_indices, key_frame_clips, timed_clip_indices

CROP_BYTES_IN_MEMORY = 256 * 2**20
ROWS_PER_BATCH = 256

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What an extraction found.

    frames: number of sampled frames. faces: number of crops. bytes: of the store file, 0 if none was made.
    seconds: by stage. mask_error: why the mask could not be read, if it could not.
    """

    frames: int = 0
    faces: int = 0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    mask_error: str = ""


def extract_faces(
    path: Path,
    into: Path,
    settings: FaceSettings,
    *,
    device: str = "cpu",
    mask: Path | None = None,
    limits: Limits = LIMITS,
    detector: Detector | None = None,
    progress: Callable[[int], object] | None = None,
) -> Extracted:
    """Write every tracked face of the sampled frames of a video, or of a still image, to a file.

    into: an Arrow file that read_faces reads. A video without any face gives a table without rows. mask:
    video of the manipulated region; one that cannot be read costs only the mask shares. detector: None is
    this process's MTCNN on device. progress: called with the index of each clip's last frame.
    Raises DecodeError if the video cannot be read.
    """
    detector = detector or shared_detector(settings, device)
    timer = StageTimer()
    with timer.stage("scan"):
        info, clips = sample_clips(path, settings, limits)
        source = SourceFile.of(path)  # before it is decoded, so that a later change is noticed
    tracker = Tracker(settings)
    sampled: list[int] = []
    rows: list[Row] = []
    with SpooledTemporaryFile(max_size=CROP_BYTES_IN_MEMORY, dir=str(into.parent)) as crops:
        unbroken = settings.num_clips is None
        for clip, first_step, shot in number_shots(clips, tracker, timer, unbroken=unbroken):
            sampled += shot.frames.index.tolist()
            with timer.stage("detect"):
                detections, detected = detect_clip(
                    shot.frames.rgb,
                    detector,
                    every=settings.detect_every,
                    min_agreement=settings.min_agreement,
                    needs_detection=tracker.needs_detection(shot),
                )
            with timer.stage("follow"):
                followed = tracker.follow(shot, detections)
            with timer.stage("crop"):
                for row, jpeg in cut_crops(shot.frames, detections, followed, settings):
                    place = {"clip": clip, "step": first_step + row["step"]}
                    span = {"jpeg": (crops.tell(), crops.write(jpeg))}
                    rows.append(row | {"detected": bool(detected[row["step"]])} | place | span)
            del shot  # before the next clip is decoded
            if progress is not None:
                progress(sampled[-1] if sampled else 0)
        rows = rank_tracks(rows)
        faces = VideoFaces(SCHEMA.empty_table(), info, settings, tuple(sampled), source=source)
        mask_error = ""
        if mask is not None:
            from deepfake.faces.main_face import try_mask_shares  # which only corpora with masks need

            with timer.stage("mask"):
                without_crops = replace(faces, table=to_table([row | {"jpeg": b""} for row in rows]))
                shares, mask_error = try_mask_shares(without_crops, mask)
                faces = replace(faces, mask_shares=shares)
        with timer.stage("write"):
            write_rows(into, rows, crops, faces.with_metadata().schema)
    return Extracted(frames=len(sampled), faces=len(rows), seconds=dict(timer.seconds), mask_error=mask_error)


class StageTimer:
    """Wall seconds by stage, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start


def sample_clips(path: Path, settings: FaceSettings, limits: Limits) -> tuple[VideoInfo, Iterator[Frames]]:
    """Facts about the file, and an iterator that decodes its sampled clips one by one."""
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
    info, num_clips, clip_frames = scanned.info, settings.num_clips, settings.clip_frames
    if settings.sample_fps is not None:
        clips = timed_clip_indices(
            scanned.time_s, num_clips=num_clips, clip_frames=clip_frames, sample_fps=settings.sample_fps
        )
    elif settings.at_key_frames:
        clips = key_frame_clips(info.num_frames, scanned.keys, num_clips=num_clips, clip_frames=clip_frames)
    else:
        clips = clip_indices(info.num_frames, num_clips=num_clips, clip_frames=clip_frames)
    return info, read_clips(path, clips, scanned=scanned)


def number_shots(
    clips: Iterator[Frames], tracker: Tracker, timer: StageTimer, *, unbroken: bool
) -> Iterator[tuple[int, int, Shot]]:
    """Clip number, step of the first frame, and frames of each shot; every shot counts as a clip of its own.

    unbroken: a clip's first frame follows the last frame of the clip before, so a shot continues across clips
    unless there is a shot boundary. The consumer must release a shot before it asks for the next one.
    """
    clip, step = -1, 0
    while True:
        with timer.stage("decode"):
            frames = next(clips, None)
        if frames is None:
            return
        with timer.stage("follow"):
            shots = tracker.shots(frames)
        del frames
        while shots:
            shot = shots.pop(0)
            num_frames = len(shot.frames)
            if clip < 0 or shot.is_new or not unbroken:
                clip, step = clip + 1, 0
            yield clip, step, shot
            del shot
            step += num_frames


def cut_crops(
    frames: Frames,
    detections: Sequence[Detections],
    followed: Sequence[tuple[int, Tracklet]],
    settings: FaceSettings,
) -> Iterator[tuple[Row, bytes]]:
    """A row and a JPEG for every face, frame by frame; followed: number and tracklet of each track."""
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
        rows, columns = region_of(squares, frame_size(frames.rgb, step))
        rgb = rgb_region(frames.rgb, step, (rows, columns))
        for (track, which), square in zip(here, squares, strict=True):
            box, found = boxes[track, step], detections[step]
            x0, y0, side = square
            crop = crop_square(rgb, (x0 - columns.start, y0 - rows.start, side), settings.max_crop_px)
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
    area: dict[int, float] = defaultdict(float)
    for row in rows:
        x0, y0, x1, y1 = row["box"]
        area[row["track"]] += (x1 - x0) * (y1 - y0)
    rank = {track: place for place, track in enumerate(sorted(area, key=lambda t: (-area[t], t)))}
    ranked = [row | {"track": rank[row["track"]]} for row in rows]
    return sorted(ranked, key=lambda row: (row["track"], row["clip"], row["step"]))


def write_rows(into: Path, rows: Sequence[Row], crops: IO[bytes], schema: pa.Schema) -> None:
    """Write the rows as an Arrow file; their "jpeg" is first byte and length of the crop in crops."""

    def with_crop(row: Row) -> Row:
        start, length = row["jpeg"]
        crops.seek(start)
        return row | {"jpeg": crops.read(length)}

    with pa.OSFile(str(into), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(rows), ROWS_PER_BATCH):
            batch = [with_crop(row) for row in rows[start : start + ROWS_PER_BATCH]]
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
