"""One video or image to its faces: sampled clips, decoded in order, held one clip at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake.faces.crop import cut, encode_jpeg, smooth, square_around
from deepfake.faces.settings import FaceSettings
from deepfake.faces.sparse import Detector, detect_clip
from deepfake.faces.stopwatch import Stopwatch
from deepfake.faces.track import Tracklet, join_clips, link_clip
from deepfake.faces.video_faces import SCHEMA, VideoFaces
from deepfake.records import Detections, Frames, VideoInfo
from deepfake.video.decode import read_clips
from deepfake.video.images import IMAGE_SUFFIXES, read_image
from deepfake.video.probe import scan
from deepfake.video.sampling import clip_indices, timed_clip_indices

Row = dict[str, Any]


def extract_faces(
    path: Path, settings: FaceSettings, detector: Detector, stopwatch: Stopwatch | None = None
) -> VideoFaces:
    """Every tracked face of the sampled frames of a video, or of the one frame of a still image.

    stopwatch: told the seconds of each stage. Raises DecodeError if the file cannot be read. A file without
    any face gives an empty table.
    """
    stopwatch = stopwatch or Stopwatch()
    with stopwatch.stage("scan"):
        info, clips = sample(path, settings)
    sampled: list[list[int]] = []  # frames of each clip
    last_boxes: list[np.ndarray] = []  # of each track so far
    rows: list[Row] = []
    for frames in stopwatch.each("decode", clips):
        clip = len(sampled)  # enumerate would keep the clip while the next one is made
        sampled.append(frames.index.tolist())
        with stopwatch.stage("detect"):
            detections, detected = detect_clip(
                frames.rgb, detector, every=settings.detect_every, min_agreement=settings.min_agreement
            )
        tracklets = link_clip(detections, min_iou=settings.min_iou, max_gap_frames=settings.max_gap_frames)
        first = box_array(detections[min(t)].boxes[t[min(t)]] for t in tracklets)
        joined = join_clips(box_array(last_boxes), first, max_jump=settings.max_jump)
        for tracklet, known in zip(tracklets, joined, strict=True):
            track = len(last_boxes) if known is None else known
            if known is None:
                last_boxes.append(np.empty(0))
            last_boxes[track] = detections[max(tracklet)].boxes[tracklet[max(tracklet)]]
            with stopwatch.stage("crop"):
                cropped = tracklet_rows(frames, detections, tracklet, settings)
            rows += [
                {"track": track, "clip": clip, "detected": bool(detected[row["step"]])} | row
                for row in cropped
            ]
        del frames
    size = path.stat().st_size
    return VideoFaces(to_table(rank_tracks(rows)), info, settings, tuple(chain(*sampled)), source_bytes=size)


def sample(path: Path, settings: FaceSettings) -> tuple[VideoInfo, Iterator[Frames]]:
    """What the file is, and its sampled clips as an iterator that decodes as it goes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        image = read_image(path)
        height, width = image.rgb[0].shape[:2]
        info = VideoInfo(
            num_frames=1,
            fps=0.0,
            width=width,
            height=height,
            rotation_deg=0,
            codec="image",
            container="image",
        )
        return info, iter([image])
    scanned = scan(path)
    info = scanned.info
    if settings.sample_fps is None:
        clips = clip_indices(info.num_frames, num_clips=settings.num_clips, clip_frames=settings.clip_frames)
    else:
        clips = timed_clip_indices(
            scanned.time_s,
            num_clips=settings.num_clips,
            clip_frames=settings.clip_frames,
            sample_fps=settings.sample_fps,
        )
    return info, read_clips(path, clips, scanned=scanned)


def tracklet_rows(
    frames: Frames, detections: list[Detections], tracklet: Tracklet, settings: FaceSettings
) -> list[Row]:
    """One row a frame in which the face was found, with its crop."""
    steps = np.array(sorted(tracklet))
    boxes = box_array(detections[step].boxes[tracklet[step]] for step in steps)
    rows = []
    for step, box in zip(steps.tolist(), smooth(boxes, steps, settings.smooth_frames), strict=True):
        square = square_around(box, settings.margin)
        crop = cut(frames.rgb[step], square, settings.max_crop_px)
        found, which = detections[step], tracklet[step]
        rows.append(
            {
                "step": step,
                "frame": int(frames.index[step]),
                "time_s": float(frames.time_s[step]),
                "box": box.tolist(),
                "landmarks": found.landmarks[which].ravel().tolist(),
                "score": float(found.scores[which]),
                "square": list(square),
                "jpeg": encode_jpeg(crop, settings.jpeg_quality),
            }
        )
    return rows


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


def box_array(boxes: Any) -> np.ndarray:
    """Boxes as (N, 4) float32, also when there are none."""
    return np.array(list(boxes), np.float32).reshape(-1, 4)
