"""Faces as one picture: with their scores, as tracks of a store, before and after an augmentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepfake.faces.video_faces import VideoFaces, decode_jpeg
from deepfake.io import visible
from deepfake.reports.html import FAKE_COLOUR, INK, REAL_COLOUR
from deepfake.reports.plots import plain_name, save

FACE_PX = 160


@dataclass(frozen=True, slots=True)
class ScoredFace:
    """A crop (S, S, 3) uint8, the method that made its video, and the video's prob."""

    crop: np.ndarray
    method: str
    label: int
    prob: float


def plot_faces(faces: Sequence[ScoredFace], threshold: float, path: Path, *, columns: int = 8) -> None:
    """A grid of faces under their method, each framed by its true label, its prob below; misses in bold."""
    num_rows = -(-len(faces) // columns)
    figure = Figure(figsize=(columns * 1.15, num_rows * 1.5), dpi=110, layout="constrained")
    grid = figure.subplots(num_rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, face in zip(grid.flat, faces, strict=False):
        draw_face(axes, face, threshold)
    save(figure, path)


def middle_face(faces: VideoFaces) -> np.ndarray:
    """The crop (S, S, 3) uint8 RGB in the middle of a video's first track."""
    rows = faces.track_rows[0]
    return decode_jpeg(faces.jpegs([rows[len(rows) // 2]])[0])


def draw_face(axes: Axes, face: ScoredFace, threshold: float) -> None:
    """One face of the grid."""
    colour = FAKE_COLOUR if face.label else REAL_COLOUR
    axes.imshow(cv2.resize(face.crop, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA))
    axes.add_patch(Rectangle((0, 0), FACE_PX - 1, FACE_PX - 1, fill=False, edgecolor=colour, linewidth=3))
    missed = (face.prob >= threshold) != bool(face.label)
    axes.set_title(plain_name(face.method), fontsize=8, color=colour, pad=3)
    axes.text(
        FACE_PX / 2,
        FACE_PX * 1.13,
        f"{face.prob:.2f}" + (" missed" if missed else ""),
        ha="center",
        fontsize=8,
        color=INK,
        fontweight="bold" if missed else "normal",
    )


def spread_over_methods(methods: Sequence[str], count: int) -> list[int]:
    """At most count places, taking the methods in turn so that each is seen, ordered by method."""
    by_method: dict[str, list[int]] = {}
    for place, method in enumerate(methods):
        by_method.setdefault(method, []).append(place)
    turns = sorted(
        (turn, method, place) for method, places in by_method.items() for turn, place in enumerate(places)
    )
    return [place for _, _, place in sorted(turns[:count], key=lambda t: (t[1] != "real", t[1], t[0]))]


# Random tracks of a face store as one picture, which shows at a glance what was cut out of the videos.


CROPS = 8  # a strip
# lengths in pixels of the picture
CROP, CROP_GAP, CAPTION, STRIPE, STRIPE_GAP = 104, 3, 42, 7, 5
STRIP = STRIPE + STRIPE_GAP + CROPS * (CROP + CROP_GAP) - CROP_GAP
MARGIN, HEADER, ROW_GAP, COLUMN_GAP = 30, 76, 24, 48
DPI = 100
MUTED = "#777777"
PALE = 245  # where a strip has no crop, of 255
KEY_CHARS, METHOD_CHARS, NOTE_CHARS = 52, 28, 50  # what fits a strip side by side, even if all are W


@dataclass(frozen=True, slots=True)
class SheetTrack:
    """One face over time, and what is to be written above it.

    crops: up to 8, in time order, each (S, S, 3) uint8 with an S of its own. video: its key. side_px: mean
    side of what the crops show, in pixels of the video. frames: how many of it have the face. start_s,
    end_s: from when to when. score: mean of the detections. main: whether this is the face to train on.
    """

    crops: Sequence[np.ndarray]
    video: str
    method: str
    label: int
    split: str | None
    side_px: float
    frames: int
    start_s: float
    end_s: float
    score: float
    main: bool
    note: str = ""


def choose_tracks(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[tuple[str, int]]:
    """Up to count random (video key, track) from manifest rows, real ones first, then by method.

    The methods take turns, and within a method its videos: all have one track shown before any has two.
    """
    rng = np.random.default_rng(seed)
    method_of = {row["video"]: row["method"] for row in rows}
    tracks = [(row["video"], track["track"]) for row in rows for track in row["tracks"]]
    tracks = [tracks[place] for place in rng.permutation(len(tracks))]
    shown: Counter[str] = Counter()
    turns = []
    for video, _ in tracks:
        turns.append(shown[video])
        shown[video] += 1
    tracks = [tracks[place] for place in np.argsort(turns, kind="stable")]
    return [tracks[place] for place in spread_over_methods([method_of[v] for v, _ in tracks], count)]


def sheet_track(faces: VideoFaces, row: Mapping[str, Any], track: int) -> SheetTrack:
    """One track of a video's faces for the sheet; row: of the video in the manifest."""
    about, own = row["tracks"][track], faces.track_rows[track]
    time_s = faces.column("time_s")[own]
    return SheetTrack(
        crops=[decode_jpeg(jpeg) for jpeg in faces.jpegs(own[evenly(len(own))])],
        video=row["video"],
        method=row["method"],
        label=row["label"],
        split=row["split"],
        side_px=about["side_px"],
        frames=about["frames"],
        start_s=float(time_s[0]),
        end_s=float(time_s[-1]),
        score=float(faces.column("score")[own].mean()),
        main=row["main"] == track,
        note=f"main face by {row['main_by']}" if row["main"] == track else "",
    )


def evenly(num_rows: int, count: int = CROPS) -> list[int]:
    """Up to count of num_rows rows, from the first to the last: 15 rows, count 8 -> 0, 2, 4 … 14."""
    return np.linspace(0, num_rows - 1, min(num_rows, count)).round().astype(int).tolist()


def shorten(text: str, length: int) -> str:
    """Text of at most length characters; a longer one loses its middle, as its ends tell more."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def plot_tracks(tracks: Sequence[SheetTrack], path: Path, *, title: str = "faces of the store") -> None:
    """Each track as a strip of crops under its caption, in two columns if there are more than six.

    The stripe before a strip has the colour of real or fake, and is hollow if it is not the main face.
    Without tracks there is no picture.
    """
    if not tracks:
        return
    num_columns = 2 if len(tracks) > 6 else 1
    num_rows = -(-len(tracks) // num_columns)
    width = 2 * MARGIN + num_columns * (STRIP + COLUMN_GAP) - COLUMN_GAP
    height = HEADER + num_rows * (CAPTION + CROP + ROW_GAP) - ROW_GAP + MARGIN
    figure, axes = pixel_figure(width, height)
    title = f"{title}: {len(tracks)} tracks" if len(tracks) > 1 else title
    legend = [
        (235, "real", REAL_COLOUR, True),
        (170, "fake", FAKE_COLOUR, True),
        (105, "another face", MUTED, False),
    ]
    draw_header(axes, shorten(title, 44), legend, width)
    pixels = np.full((height, width, 3), 255, np.uint8)
    for place, track in enumerate(tracks):
        column, row = divmod(place, num_rows)
        x, y = MARGIN + column * (STRIP + COLUMN_GAP), HEADER + row * (CAPTION + CROP + ROW_GAP)
        draw_caption(axes, track, x, y)
        draw_stripe(axes, x, y + CAPTION, CROP, colour_of(track.label), filled=track.main)
        paste(pixels, track.crops[:CROPS], x + STRIPE + STRIPE_GAP, y + CAPTION)
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest", zorder=0)
    save(figure, path)


def pixel_figure(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure and axes over the whole of it, in its pixels: x to the right, y down."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def draw_header(axes: Axes, title: str, legend: Sequence[tuple[int, str, str, bool]], width: int) -> None:
    """The title, and what stripes mean: distance from the right margin, text, colour, whether filled."""
    write(axes, MARGIN, 42, title, size=13, weight="bold")
    for left, text, colour, filled in legend:
        draw_stripe(axes, width - MARGIN - left, 28, 16, colour, filled=filled)
        write(axes, width - MARGIN - left + STRIPE + 6, 41, text, size=9)


def draw_caption(axes: Axes, track: SheetTrack, x: int, y: int) -> None:
    """Two lines over a strip at (x, y): what video it is, and what was found in it."""
    split = f" · {track.split}" if track.split else ""
    time = f"{track.frames} frames, {track.start_s:.1f}–{track.end_s:.1f} s"
    if track.frames == 1:
        time = f"1 frame, {track.start_s:.1f} s"
    found = f"{track.side_px:.0f} px · {time} · score {track.score:.2f}"
    note = track.note or ("" if track.main else "not the main face")
    colour = INK if track.main else MUTED
    write(axes, x, y + 14, shorten(track.video, KEY_CHARS), size=9, colour=colour, family="monospace")
    method = shorten(track.method, METHOD_CHARS) + split
    write(axes, x + STRIP, y + 14, method, size=9, colour=colour_of(track.label), weight="bold", ha="right")
    write(axes, x, y + 33, found, size=8, colour=MUTED)
    write(axes, x + STRIP, y + 33, shorten(note, NOTE_CHARS), size=8, colour=MUTED, ha="right")


def draw_stripe(axes: Axes, x: int, y: int, height: int, colour: str, *, filled: bool) -> None:
    """An upright stripe, hollow or not; (x, y) is its upper left corner."""
    inset = 1  # half the outline
    stripe = Rectangle((x + inset, y + inset), STRIPE - 2 * inset, height - 2 * inset)
    stripe.set(facecolor=colour if filled else "none", edgecolor=colour, linewidth=2 * inset * 72 / DPI)
    axes.add_patch(stripe)


def paste(pixels: np.ndarray, crops: Sequence[np.ndarray], x: int, y: int) -> None:
    """Put crops side by side into a picture (H, W, 3) uint8, from (x, y) on; places without one are pale."""
    for place in range(CROPS):
        slot = pixels[y : y + CROP, x + place * (CROP + CROP_GAP) :][:, :CROP]
        slot[:] = PALE
        if place < len(crops):
            way = cv2.INTER_AREA if len(crops[place]) > CROP else cv2.INTER_CUBIC
            slot[:] = cv2.resize(crops[place], (CROP, CROP), interpolation=way)


def write(axes: Axes, x: int, y: int, text: str, *, size: float, colour: str = INK, **style: Any) -> None:
    """One line of text; y is its base line."""
    axes.text(x, y, visible(text), fontsize=size, color=colour, parse_math=False, **style)


def colour_of(label: int) -> str:
    """The colour of real or fake."""
    return FAKE_COLOUR if label else REAL_COLOUR


# Windows before and after an augmentation.

MAX_FRAMES, DIFFERENCE_GAIN = 4, 4
# lengths in pixels of the picture
FRAME, GAP, CARD_STRIPE, CARD_CAPTION, CARD_GAP = 132, 3, 12, 58, 30
CARD_HEADER, SHEET_WIDTH = 84, 1240


@dataclass(frozen=True, slots=True)
class AugmentedWindow:
    """A window before and after an augmentation, and the key and method of its video.

    before, after: frames (T, S, S, 3) uint8. labels: before and after. note: description of what was done.
    """

    before: np.ndarray
    after: np.ndarray
    labels: tuple[int, int]
    note: str
    video: str
    method: str


def plot_augmented(windows: Sequence[AugmentedWindow], path: Path, *, title: str) -> None:
    """Each window as a card with up to four frames: before, after, and the difference, enhanced four times.

    The stripe before a row has the colour of its label.
    """
    num_frames = min(MAX_FRAMES, max(len(window.before) for window in windows))
    card_width = CARD_STRIPE + num_frames * (FRAME + GAP) - GAP
    card_height = CARD_CAPTION + 3 * (FRAME + GAP) - GAP
    across = min(len(windows), max(1, (SHEET_WIDTH - 2 * MARGIN + CARD_GAP) // (card_width + CARD_GAP)))
    down = -(-len(windows) // across)
    width = max(2 * MARGIN + across * (card_width + CARD_GAP) - CARD_GAP, 720)
    height = CARD_HEADER + down * (card_height + CARD_GAP) - CARD_GAP + MARGIN
    figure, axes = pixel_figure(width, height)
    legend = [(125, "real", REAL_COLOUR, True), (60, "fake", FAKE_COLOUR, True)]
    draw_header(axes, shorten(title, 60), legend, width)
    how = f"from top to bottom: before, after, difference × {DIFFERENCE_GAIN}"
    write(axes, MARGIN, 62, how, size=9, colour=MUTED)
    pixels = np.full((height, width, 3), 255, np.uint8)
    for place, window in enumerate(windows):
        row, column = divmod(place, across)
        x, y = MARGIN + column * (card_width + CARD_GAP), CARD_HEADER + row * (card_height + CARD_GAP)
        draw_card(axes, pixels, window, (x, y), card_width)
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest", zorder=0)
    save(figure, path)


def draw_card(
    axes: Axes, pixels: np.ndarray, window: AugmentedWindow, corner: tuple[int, int], width: int
) -> None:
    """One window; corner: x, y of the card's upper left in the picture (H, W, 3) uint8."""
    x, y = corner
    write(axes, x, y + 13, shorten(window.video, width // 7), size=8, family="monospace")
    before, after = window.before, window.after
    became = "" if window.labels[0] == window.labels[1] else " → pseudo-fake"
    done = window.note or ("unchanged" if np.array_equal(before, after) else "changed")
    colours = [colour_of(label) for label in window.labels]
    write(
        axes, x, y + 31, shorten(window.method + became, width // 6), size=8, colour=colours[1], weight="bold"
    )
    write(axes, x, y + 48, shorten(done, width // 6), size=8, colour=MUTED)
    rows = zip((before, after, show_difference(before, after)), (*colours, None), strict=True)
    for place, (frames, stripe) in enumerate(rows):
        top = y + CARD_CAPTION + place * (FRAME + GAP)
        if stripe:
            draw_stripe(axes, x, top, FRAME, stripe, filled=True)
        for column, frame in enumerate(evenly(len(frames), MAX_FRAMES)):
            left = x + CARD_STRIPE + column * (FRAME + GAP)
            small = cv2.resize(frames[frame], (FRAME, FRAME), interpolation=cv2.INTER_AREA)
            pixels[top : top + FRAME, left : left + FRAME] = small


def show_difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The mean change of R, G and B, enhanced: pale where there is none, dark where it is large."""
    change = cv2.absdiff(before, after).mean(axis=3, keepdims=True) * DIFFERENCE_GAIN
    return np.clip(PALE - change, 0, PALE).astype(np.uint8).repeat(3, axis=3)
