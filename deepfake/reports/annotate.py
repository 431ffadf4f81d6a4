"""Annotated copies of videos and images: every scored face with its box, its person and its probability."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from deepfake.faces.video_faces import VideoFaces, encode_jpeg
from deepfake.reports.html import FAKE_COLOUR, REAL_COLOUR, clock, person
from deepfake.scoring.prediction import Prediction, WindowPrediction
from deepfake.video.decode import IMAGE_SUFFIXES, read_frames, read_image
from deepfake.video.probe import NO_LIMITS, Scan, open_video, scan
from deepfake.video.write import write_timed_video

MAX_SIDE_PX = 1920
MAX_BRIDGE_S = 2.0
"""The longest time between two analysed frames of a face over which its box is interpolated."""
FINEST_TICK = Fraction(1, 1_000_000)
JPEG_QUALITY = 92
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
DARK_SHARE = 0.72  # of the ground under text: it reads on any picture, and the picture shines through
TEXT_SHARE = 0.036  # height of letters over the picture's short side


@dataclass(frozen=True, slots=True)
class AnnotatedFace:
    """One face in one frame. box: xyxy in pixels. analysed: its crop was scored, else it is interpolated."""

    track: int
    box: tuple[float, float, float, float]
    prob: float
    analysed: bool


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
    """Write a copy of source into folder with the prediction drawn over its faces; returns the new file.

    name: that of the new file, without suffix. A video becomes an MP4 (H.264) with the original times of
    frames and its sound, reduced to max_side_px on the long side if larger. A still image becomes a JPEG. A
    caption gives time, frame and verdict, and says if no face was found or the frame was not analysed. One
    frame is in memory at a time. Raises DecodeError naming the file and the frame where decoding fails; no
    file is left then.
    """
    verdict = prediction.verdict if prediction.prob is None else f"{prediction.verdict} {prediction.prob:.2f}"
    if source.suffix.lower() in IMAGE_SUFFIXES:
        found = faces_by_frame(prediction, faces, np.zeros(1)).get(0, [])
        rgb = read_image(source, NO_LIMITS).rgb[0]
        picture = draw_frame(rgb, found, f"file: {verdict}", threshold=threshold, max_side_px=max_side_px)
        image = folder / f"{name}.jpg"
        folder.mkdir(parents=True, exist_ok=True)
        image.write_bytes(encode_jpeg(picture, JPEG_QUALITY))
        return image
    scanned = scan(source, NO_LIMITS)
    stamps, tick_s = frame_stamps(source, scanned)
    found_on, sampled = faces_by_frame(prediction, faces, scanned.time_s), set(faces.sampled)

    def frames() -> Iterator[tuple[int, np.ndarray]]:
        every = np.arange(scanned.info.num_frames)
        for index, rgb in enumerate(read_frames(source, every, scanned)):
            shown = found_on.get(index, [])
            here = "" if shown else "   no face" if index in sampled else "   not analysed"
            caption = f"{clock(scanned.time_s[index])}   frame {index}   file: {verdict}{here}"
            yield (
                int(stamps[index]),
                draw_frame(rgb, shown, caption, threshold=threshold, max_side_px=max_side_px),
            )

    video = folder / f"{name}.mp4"
    rate = Fraction(scanned.info.fps).limit_denominator(1001)
    write_timed_video(video, frames(), time_base=tick_s, rate=rate, sound=source)
    return video


def frame_stamps(source: Path, scanned: Scan) -> tuple[np.ndarray, Fraction]:
    """When each frame is shown, (N,) int64, and the unit in seconds; counted if the file has no times."""
    if scanned.stamps is None:
        return np.arange(scanned.info.num_frames), 1 / Fraction(scanned.info.fps).limit_denominator(1001)
    container, stream = open_video(source, NO_LIMITS)
    with container:
        tick_s = stream.time_base or FINEST_TICK
    if tick_s >= FINEST_TICK:
        return scanned.stamps, tick_s
    return np.round(scanned.stamps * float(tick_s / FINEST_TICK)).astype(np.int64), FINEST_TICK


def faces_by_frame(
    prediction: Prediction, faces: VideoFaces, time_s: np.ndarray
) -> Mapping[int, list[AnnotatedFace]]:
    """The scored faces of every frame that shows one; time_s (N,): when each frame is shown.

    In an analysed frame the box is the stored one. Between two of them box and prob are interpolated, if both
    belong to the same stretch of the track and are at most MAX_BRIDGE_S apart.
    """
    found: dict[int, list[AnnotatedFace]] = defaultdict(list)
    for track in prediction.tracks:
        rows = faces.track_rows[track.track]
        analysed, boxes = faces.column("frame")[rows], faces.boxes[rows].astype(np.float64)
        shown = known_frames(analysed, time_s, track.spans)
        place = np.stack([np.interp(shown, analysed, side) for side in boxes.T], axis=1)
        probs = frame_probs(track.windows, len(time_s))[shown]
        for frame, box, prob, own in zip(
            shown.tolist(), place.tolist(), probs.tolist(), np.isin(shown, analysed).tolist(), strict=True
        ):
            found[frame].append(AnnotatedFace(track.track, tuple(box), prob, own))
    return found


def known_frames(
    analysed: np.ndarray, time_s: np.ndarray, spans: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Frames in which a face was analysed, and those between two of them in one stretch, (K,) int64.

    analysed: (L,) rising. spans: first and last second of each stretch; without any, the track is one.
    """
    starts = np.array([start for start, _ in spans])
    stretch = np.searchsorted(starts, time_s[analysed] + 1e-6)
    near = (np.diff(time_s[analysed]) <= MAX_BRIDGE_S) & (np.diff(stretch) == 0)
    pieces = np.split(analysed, np.flatnonzero(~near) + 1)
    return np.concatenate([np.arange(piece[0], piece[-1] + 1) for piece in pieces])


def frame_probs(windows: Sequence[WindowPrediction], num_frames: int) -> np.ndarray:
    """The prob of each frame, (N,): the mean of its windows, interpolated where there is none."""
    total, count = np.zeros(num_frames + 1), np.zeros(num_frames + 1)
    for window in windows:
        for sums, value in ((total, window.prob), (count, 1)):
            sums[window.start_frame] += value
            sums[window.end_frame + 1] -= value
    covered = np.round(np.cumsum(count)[:num_frames])
    (known,) = np.nonzero(covered)
    return np.interp(np.arange(num_frames), known, np.cumsum(total)[known] / covered[known])


def draw_frame(
    rgb: np.ndarray, faces: Sequence[AnnotatedFace], caption: str, *, threshold: float, max_side_px: int
) -> np.ndarray:
    """A frame (H, W, 3) uint8, made even and small enough, with faces whose boxes are in its pixels."""
    picture, (wide, high) = fit_even(rgb, max_side_px)
    scaled = [
        replace(face, box=(face.box[0] * wide, face.box[1] * high, face.box[2] * wide, face.box[3] * high))
        for face in faces
    ]
    return annotate(picture, scaled, caption, threshold=threshold)


def fit_even(rgb: np.ndarray, max_side_px: int) -> tuple[np.ndarray, tuple[float, float]]:
    """A picture of even width and height, and the scale of each.

    A larger picture is reduced to max_side_px on its long side; else odd sides repeat the last row or column.
    """
    height, width = rgb.shape[:2]
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), (1.0, 1.0)
    size = 2 * max(1, round(width * scale / 2)), 2 * max(1, round(height * scale / 2))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), (size[0] / width, size[1] / height)


def annotate(
    rgb: np.ndarray, faces: Sequence[AnnotatedFace], caption: str, *, threshold: float
) -> np.ndarray:
    """A copy of a picture (H, W, 3) uint8 with boxes and names of its faces, and a caption at the lower left.

    A box is red at or above the threshold and blue below it; it is thick if the face was analysed in this
    frame and thin if its box and prob are interpolated. Above it are name, prob, and a bar of the prob with a
    tick at the threshold.
    """
    picture = np.array(rgb)
    size_px = int(np.clip(round(TEXT_SHARE * min(picture.shape[:2])), 11, 44))
    for face in faces:
        draw_box(picture, face, line_px=max(2, size_px // 7), threshold=threshold)
    for face in faces:  # afterwards, so that no box covers a name
        draw_name(picture, face, size_px=size_px, threshold=threshold)
    draw_caption(picture, caption, size_px=size_px)
    return picture


def draw_box(picture: np.ndarray, face: AnnotatedFace, *, line_px: int, threshold: float) -> None:
    """Draw the box into the picture, its line between two dark ones."""
    x0, y0, x1, y1 = (round(value) for value in face.box)
    line = line_px if face.analysed else max(1, line_px // 3)
    cv2.rectangle(picture, (x0, y0), (x1, y1), DARK, line + 2)
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour_of(face.prob, threshold), line)


def draw_name(picture: np.ndarray, face: AnnotatedFace, *, size_px: int, threshold: float) -> None:
    """Draw name, prob and bar into the picture: above the box, or inside it if there is no room above."""
    words = text_mask(f"{person(face.track)}   {face.prob:.2f}", size_px)
    pad, bar = max(3, size_px // 3), max(3, size_px // 4)
    width, height = words.shape[1] + 2 * pad, words.shape[0] + bar + 3 * pad
    left, top = face.box[0] - 1, face.box[1] - height - pad // 2
    x = int(np.clip(round(left), 0, max(0, picture.shape[1] - width)))
    y = int(np.clip(round(top if top >= 0 else face.box[1] + pad), 0, max(0, picture.shape[0] - height)))
    darken(picture, x, y, width, height)
    write(picture, words, x + pad, y + pad)
    ends = x + pad, x + width - pad
    bar_top = y + height - pad - bar
    cv2.rectangle(picture, (ends[0], bar_top), (ends[1] - 1, bar_top + bar - 1), (110, 110, 110), -1)
    full = round(face.prob * (ends[1] - ends[0]))
    if full:
        colour = colour_of(face.prob, threshold)
        cv2.rectangle(picture, (ends[0], bar_top), (ends[0] + full - 1, bar_top + bar - 1), colour, -1)
    tick = ends[0] + round(threshold * (ends[1] - ends[0]))
    cv2.rectangle(picture, (tick - 1, bar_top - 2), (tick, bar_top + bar + 1), LIGHT, -1)


def draw_caption(picture: np.ndarray, caption: str, *, size_px: int) -> None:
    """Text in place, on a dark ground in the lower left corner."""
    words, pad = text_mask(caption, size_px), max(3, size_px // 3)
    height = words.shape[0] + 2 * pad
    y = max(0, picture.shape[0] - height)
    darken(picture, 0, y, words.shape[1] + 2 * pad, height)
    write(picture, words, pad, y + pad)


def darken(picture: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    """A rectangle in place, dimmed; what lies outside the picture is left out."""
    part = picture[y : y + height, x : x + width]
    part[:] = (part * (1 - DARK_SHARE) + np.array(DARK) * DARK_SHARE).astype(np.uint8)


def write(picture: np.ndarray, mask: np.ndarray, x: int, y: int) -> None:
    """Light text in place; what does not fit is left out."""
    part = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    share = mask[: part.shape[0], : part.shape[1], None] / 255
    part[:] = (part * (1 - share) + np.array(LIGHT) * share + 0.5).astype(np.uint8)


@lru_cache(maxsize=1024)
def text_mask(text: str, size_px: int) -> np.ndarray:
    """How much of each pixel letters of a size cover, (h, w) uint8; h is the same for all texts of a size."""
    font = ImageFont.load_default(size_px)  # comes with Pillow, so that every machine draws alike
    left, top, _, bottom = (round(value) for value in font.getbbox("Ågj|"))
    image = Image.new("L", (round(font.getlength(text)) + 1, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return np.asarray(image)


def colour_of(prob: float, threshold: float) -> tuple[int, int, int]:
    """Red from the threshold on, blue below it."""
    return ImageColor.getcolor(FAKE_COLOUR if prob >= threshold else REAL_COLOUR, "RGB")  # type: ignore[return-value]
