"""A copy of a video with everybody's box, name and prob drawn in, at the same times and with its sound."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from deepfake.faces.crop import encode_jpeg
from deepfake.faces.video_faces import VideoFaces
from deepfake.reports.marks import Mark, annotate
from deepfake.reports.people import clock
from deepfake.scoring.prediction import Prediction, WindowPrediction
from deepfake.video.decode import read_frames
from deepfake.video.images import IMAGE_SUFFIXES, read_image
from deepfake.video.limits import NO_LIMITS
from deepfake.video.probe import Scan, open_video, scan
from deepfake.video.write import write_timed_video

MAX_SIDE_PX = 1920
MAX_BRIDGE_S = 2.0
"""Between two looks at a face that are further apart no box is drawn: it may be anywhere."""
FINEST_TICK = Fraction(1, 1_000_000)
JPEG_QUALITY = 92


def write_annotated(
    folder: Path,
    name: str,
    source: Path,
    prediction: Prediction,
    faces: VideoFaces,
    *,
    threshold: float,
    max_side_px: int = MAX_SIDE_PX,
) -> Path:
    """Write source into folder with what prediction says of its faces drawn in; returns the new file.

    name: of the file, without suffix. A video becomes an MP4 (H.264) in which every frame stands at its time
    as it is shown, reduced to max_side_px on its long side if larger; its sound goes along. A still image
    becomes a JPEG. A caption tells time, frame, verdict, and where no face was found or looked for. One frame
    is held at a time. Raises DecodeError naming the file and the frame where
    reading breaks, and leaves nothing then.
    """
    said = prediction.verdict if prediction.prob is None else f"{prediction.verdict} {prediction.prob:.2f}"
    if source.suffix.lower() in IMAGE_SUFFIXES:
        found = face_marks(prediction, faces, np.zeros(1)).get(0, [])
        rgb = read_image(source, NO_LIMITS).rgb[0]
        picture = marked(rgb, found, f"file: {said}", threshold=threshold, max_side_px=max_side_px)
        image = folder / f"{name}.jpg"
        folder.mkdir(parents=True, exist_ok=True)
        image.write_bytes(encode_jpeg(picture, JPEG_QUALITY))
        return image
    scanned = scan(source, NO_LIMITS)
    stamps, tick_s = stamps_of(source, scanned)
    found_on, sampled = face_marks(prediction, faces, scanned.time_s), set(faces.sampled)

    def frames() -> Iterator[tuple[int, np.ndarray]]:
        every = np.arange(scanned.info.num_frames)
        for index, rgb in enumerate(read_frames(source, every, scanned)):
            here = "" if index in found_on else "   no face" if index in sampled else "   not looked at"
            caption = f"{clock(scanned.time_s[index])}   frame {index}   file: {said}{here}"
            yield (
                int(stamps[index]),
                marked(rgb, found_on.get(index, []), caption, threshold=threshold, max_side_px=max_side_px),
            )

    film = folder / f"{name}.mp4"
    rate = Fraction(scanned.info.fps).limit_denominator(1001)
    write_timed_video(film, frames(), time_base=tick_s, rate=rate, sound=source)
    return film


def stamps_of(source: Path, scanned: Scan) -> tuple[np.ndarray, Fraction]:
    """When each frame is shown, (N,) int64, and in which parts of a second; counted if the file is mute."""
    if scanned.stamps is None:
        return np.arange(scanned.info.num_frames), 1 / Fraction(scanned.info.fps).limit_denominator(1001)
    container, stream = open_video(source, NO_LIMITS)
    with container:
        tick_s = stream.time_base or FINEST_TICK
    if tick_s >= FINEST_TICK:
        return scanned.stamps, tick_s
    return np.round(scanned.stamps * float(tick_s / FINEST_TICK)).astype(np.int64), FINEST_TICK


def face_marks(prediction: Prediction, faces: VideoFaces, time_s: np.ndarray) -> Mapping[int, list[Mark]]:
    """Marks of every frame on which a judged face is known to be; time_s (N,): when each frame is shown.

    Where a face was cut out its box is the stored one. Between two such looks box and prob are interpolated,
    if they belong to one stretch of the track and are no further apart than MAX_BRIDGE_S.
    """
    found: dict[int, list[Mark]] = defaultdict(list)
    for track in prediction.tracks:
        rows = faces.track_rows[track.track]
        looked, boxes = faces.column("frame")[rows], faces.boxes[rows].astype(np.float64)
        shown = known_frames(looked, time_s, track.spans)
        place = np.stack([np.interp(shown, looked, side) for side in boxes.T], axis=1)
        probs = frame_probs(track.windows, len(time_s))[shown]
        for frame, box, prob, own in zip(
            shown.tolist(), place.tolist(), probs.tolist(), np.isin(shown, looked).tolist(), strict=True
        ):
            found[frame].append(Mark(track.track, tuple(box), prob, own))
    return found


def known_frames(looked: np.ndarray, time_s: np.ndarray, spans: Sequence[tuple[float, float]]) -> np.ndarray:
    """Frames at which a face was looked at, and those between two looks of one stretch, (K,) int64.

    looked: (L,) rising. spans: first and last second of each stretch; without any the whole track is one.
    """
    starts = np.array([start for start, _ in spans])
    stretch = np.searchsorted(starts, time_s[looked] + 1e-6)
    near = (np.diff(time_s[looked]) <= MAX_BRIDGE_S) & (np.diff(stretch) == 0)
    pieces = np.split(looked, np.flatnonzero(~near) + 1)
    return np.concatenate([np.arange(piece[0], piece[-1] + 1) for piece in pieces])


def frame_probs(windows: Sequence[WindowPrediction], num_frames: int) -> np.ndarray:
    """The prob of each frame, (N,): the mean of its windows; where there is none, between those beside it."""
    total, count = np.zeros(num_frames + 1), np.zeros(num_frames + 1)
    for window in windows:
        for sums, value in ((total, window.prob), (count, 1)):
            sums[window.start_frame] += value
            sums[window.end_frame + 1] -= value
    covered = np.round(np.cumsum(count)[:num_frames])
    (known,) = np.nonzero(covered)
    return np.interp(np.arange(num_frames), known, np.cumsum(total)[known] / covered[known])


def marked(
    rgb: np.ndarray, marks: Sequence[Mark], caption: str, *, threshold: float, max_side_px: int
) -> np.ndarray:
    """A frame (H, W, 3) uint8, made even and small enough, with marks whose boxes are in its pixels."""
    picture, (wide, high) = fit_even(rgb, max_side_px)
    scaled = [
        replace(mark, box=(mark.box[0] * wide, mark.box[1] * high, mark.box[2] * wide, mark.box[3] * high))
        for mark in marks
    ]
    return annotate(picture, scaled, caption, threshold=threshold)


def fit_even(rgb: np.ndarray, max_side_px: int) -> tuple[np.ndarray, tuple[float, float]]:
    """A picture of even width and height, and by how much each was scaled.

    A larger one is reduced to max_side_px on its long side; else an odd one repeats its last row or column.
    """
    height, width = rgb.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), (1.0, 1.0)
    size = 2 * max(1, round(width * scale / 2)), 2 * max(1, round(height * scale / 2))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), (size[0] / width, size[1] / height)
