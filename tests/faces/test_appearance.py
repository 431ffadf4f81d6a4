from collections.abc import Sequence

import av
import numpy as np
import pytest

from deepfake.faces.association import (
    face_histogram,
    histogram_distance,
    scene_histogram,
)
from deepfake.faces.settings import FaceSettings
from deepfake.faces.tracker import Tracker
from deepfake.records import Frames
from deepfake.video.decode import LazyFrames, frame_size, resized_yuv, to_rgb

RED, BLUE = (200, 40, 40), (40, 40, 200)
BOX = np.array([20, 20, 60, 70], np.float32)


def plain(*colours: tuple[int, int, int]) -> np.ndarray:
    """Stripes of these colours, one beside the other, (90, 120, 3) uint8."""
    return np.repeat(np.array(colours, np.uint8)[None], 90, axis=0).repeat(120 // len(colours), axis=1)


def look(picture: np.ndarray) -> np.ndarray:
    return scene_histogram([picture], 0)[None]


def test_a_colour_is_not_apart_from_itself_and_wholly_from_another() -> None:
    assert histogram_distance(look(plain(RED)), look(plain(RED)))[0, 0] == pytest.approx(0, abs=1e-3)
    assert histogram_distance(look(plain(RED)), look(plain(BLUE)))[0, 0] == 1


def test_a_picture_of_two_colours_is_half_way_from_one_of_them() -> None:
    # sqrt(1 - sqrt(1 * 1/2)): roots of shares, multiplied
    assert histogram_distance(look(plain(RED)), look(plain(RED, BLUE)))[0, 0] == pytest.approx(
        (1 - 0.5**0.5) ** 0.5
    )


def test_a_face_s_look_is_that_of_its_box_and_not_of_what_is_around() -> None:
    inside = (slice(10, 80), slice(10, 70))  # with the forehead and the chin
    red, other = plain(BLUE), plain((40, 200, 40))
    red[inside] = other[inside] = RED
    blue = plain(BLUE)
    looks = [face_histogram([picture], 0, BOX)[None] for picture in (red, other, blue)]
    assert histogram_distance(looks[0], looks[1])[0, 0] == pytest.approx(0, abs=1e-3)
    assert histogram_distance(looks[0], looks[2])[0, 0] == 1


@pytest.mark.parametrize("box", [(-30, -30, 30, 30), (100, 70, 140, 110), (130, 95, 150, 120)])
def test_a_box_that_leaves_the_frame_has_the_look_of_what_is_in_it(
    box: tuple[float, float, float, float],
) -> None:
    found = face_histogram([plain(RED)], 0, np.array(box, np.float32))
    assert histogram_distance(found[None], face_histogram([plain(RED)], 0, BOX)[None])[0, 0] == pytest.approx(
        0, abs=1e-3
    )


def decoded(rgb: np.ndarray, form: str, rotation: int = 0) -> Sequence[np.ndarray]:
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=form)
    assert rotation == 0
    return LazyFrames([frame])


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "nv12", "rgb24"])
def test_a_part_of_a_frame_is_the_same_from_planes_and_from_rgb(form: str) -> None:
    rgb = plain(RED, BLUE)
    frames = decoded(rgb, form)
    for part, colour in (((slice(10, 30), slice(4, 50)), RED), ((slice(40, 90), slice(70, 120)), BLUE)):
        found = resized_yuv(frames, 0, (8, 4), part, interpolation=0)
        assert found.shape == (4, 8, 3)
        assert found.min(axis=(0, 1)).tolist() == found.max(axis=(0, 1)).tolist()
        expected = resized_yuv([plain(colour)], 0, (8, 4), interpolation=0)
        # brightness and colour in 219 and 224 steps instead of 255
        assert np.abs(found.astype(int) - expected).max() <= 20
    assert frame_size(frames, 0) == to_rgb(frames.frames[0]).shape[:2] == (90, 120)  # type: ignore[attr-defined]


def clip(*pictures: np.ndarray) -> Frames:
    num = len(pictures)
    return Frames(list(pictures), np.arange(num), np.arange(num) / 25)


def shots(max_distance: float, *pictures: np.ndarray) -> list[list[int]]:
    parts = Tracker(FaceSettings(cut_distance=max_distance)).shots(clip(*pictures))
    return [part.frames.index.tolist() for part in parts]


def test_a_cut_lies_where_the_picture_changes_at_once() -> None:
    room, other = plain(RED, RED, BLUE), plain((40, 200, 40), BLUE, BLUE)
    assert shots(0.2, room, room, other, other, room) == [[0, 1], [2, 3], [4]]
    assert shots(1.0, room, room, other, other, room) == [[0, 1, 2, 3, 4]]
    assert shots(0.2, room) == [[0]]


def test_a_face_that_moves_is_no_cut() -> None:
    pictures = []
    for left in range(0, 40, 8):
        picture = plain(BLUE)
        picture[30:60, left : left + 30] = RED
        pictures.append(picture)
    assert shots(0.2, *pictures) == [[0, 1, 2, 3, 4]]
