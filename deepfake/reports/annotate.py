"""A heat map over the face that it is of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepfake.faces.crops import encode_jpeg
from deepfake.faces.video_faces import VideoFaces
from deepfake.reports.html import clock, person
from deepfake.reports.plots import FAKE_COLOUR, REAL_COLOUR, rgb_of
from deepfake.scoring.prediction import Prediction, WindowPrediction
from deepfake.video.decode import IMAGE_SUFFIXES, read_frames, read_image
from deepfake.video.limits import NO_LIMITS
from deepfake.video.probe import Scan, open_video, scan
from deepfake.video.write import write_timed_video

STRONGEST = 0.8  # share of the colour where heat is 1: the face must stay visible under it


def overlay(
    rgb: np.ndarray, heat: np.ndarray, *, start_px: int = 0, side_px: int | None = None
) -> np.ndarray:
    """A face (H, W, 3) uint8 in greys, and heat (h, w) in [0, 1] as colour over it, (H, W, 3) uint8.

    The colours are those of inferno, whose lightness rises evenly, and the hotter it is the thicker they lie;
    where heat is 0 the grey face shows. start_px, side_px: first row and column, and side, of the square that
    the heat map covers, framed if it is not all of the face.
    """
    height, width = rgb.shape[:2]
    side = side_px or min(height, width)
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    part = np.s_[start_px : start_px + side, start_px : start_px + side]
    warm = cv2.resize(heat.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colour = cv2.applyColorMap((255 * warm).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = STRONGEST * np.sqrt(warm)[..., None]
    shown = grey.copy()
    shown[part] = (grey[part] * (1 - share) + colour * share + 0.5).astype(np.uint8)
    if side < min(height, width):
        cv2.rectangle(
            shown, (start_px, start_px), (start_px + side - 1, start_px + side - 1), (255, 255, 255), 1
        )
    return shown


# Boxes, names and probs of faces, drawn into a picture: functions over arrays.


DARK, LIGHT = (20, 20, 20), (255, 255, 255)
DARK_SHARE = 0.72  # of the ground under text: it reads on any picture, and the picture shines through
TEXT_SHARE = 0.036  # height of letters over the picture's short side


@dataclass(frozen=True, slots=True)
class Mark:
    """One face on one frame. box: xyxy in pixels. looked: the face was cut out there, not put in between."""

    track: int
    box: tuple[float, float, float, float]
    prob: float
    looked: bool


def annotate(rgb: np.ndarray, marks: Sequence[Mark], caption: str, *, threshold: float) -> np.ndarray:
    """A picture (H, W, 3) uint8 with its marks, and a caption in the lower left corner, (H, W, 3) uint8.

    A box is red from the threshold on and blue below it, thick where the face was looked at and thin where
    its place and prob lie between two looks. Over it stand name, prob, and a bar of the prob with a tick at
    the threshold.
    """
    picture = np.array(rgb)
    size_px = int(np.clip(round(TEXT_SHARE * min(picture.shape[:2])), 11, 44))
    for mark in marks:
        draw_box(picture, mark, line_px=max(2, size_px // 7), threshold=threshold)
    for mark in marks:  # no box lies over another one's name
        draw_name(picture, mark, size_px=size_px, threshold=threshold)
    draw_caption(picture, caption, size_px=size_px)
    return picture


def draw_box(picture: np.ndarray, mark: Mark, *, line_px: int, threshold: float) -> None:
    """The box in place, its line between two dark ones."""
    x0, y0, x1, y1 = (round(value) for value in mark.box)
    line = line_px if mark.looked else max(1, line_px // 3)
    cv2.rectangle(picture, (x0, y0), (x1, y1), DARK, line + 2)
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour_of(mark.prob, threshold), line)


def draw_name(picture: np.ndarray, mark: Mark, *, size_px: int, threshold: float) -> None:
    """Name, prob and bar in place: over the box, or inside it where there is no room above."""
    words = text_mask(f"{person(mark.track)}   {mark.prob:.2f}", size_px)
    pad, bar = max(3, size_px // 3), max(3, size_px // 4)
    width, height = words.shape[1] + 2 * pad, words.shape[0] + bar + 3 * pad
    left, top = mark.box[0] - 1, mark.box[1] - height - pad // 2
    x = int(np.clip(round(left), 0, max(0, picture.shape[1] - width)))
    y = int(np.clip(round(top if top >= 0 else mark.box[1] + pad), 0, max(0, picture.shape[0] - height)))
    darken(picture, x, y, width, height)
    write(picture, words, x + pad, y + pad)
    ends = x + pad, x + width - pad
    bar_top = y + height - pad - bar
    cv2.rectangle(picture, (ends[0], bar_top), (ends[1] - 1, bar_top + bar - 1), (110, 110, 110), -1)
    full = round(mark.prob * (ends[1] - ends[0]))
    if full:
        colour = colour_of(mark.prob, threshold)
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
    return rgb_of(FAKE_COLOUR if prob >= threshold else REAL_COLOUR)


# A copy of a video with everybody's box, name and prob drawn in, at the same times and with its sound.


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
