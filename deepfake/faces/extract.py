"""One video or image to its faces: sampled clips, decoded in order, held one clip at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from deepfake.faces.crop import around, cut, encode_jpeg, smooth, square_around
from deepfake.faces.follow import Follower, Shot, box_array, follower_for
from deepfake.faces.settings import FaceSettings
from deepfake.faces.sparse import Detector, detect_clip
from deepfake.faces.spill import Crops, Row, gathered
from deepfake.faces.stopwatch import Stopwatch
from deepfake.faces.track import Tracklet
from deepfake.faces.video_faces import SCHEMA, VideoFaces
from deepfake.records import Detections, Frames, VideoInfo
from deepfake.video.decode import read_clips
from deepfake.video.images import IMAGE_SUFFIXES, read_image
from deepfake.video.limits import LIMITS, Limits
from deepfake.video.probe import scan
from deepfake.video.sampling import clip_indices, key_frame_clips, timed_clip_indices
from deepfake.video.shown import shown_part, size_of


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
