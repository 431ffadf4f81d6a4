from collections.abc import Sequence

import av
import numpy as np
import pytest

from deepfake.faces.association import (
    face_histogram,
    histogram_distance,
    iou,
    jump,
    match,
    scene_histogram,
    track_shot,
)
from deepfake.faces.settings import FaceSettings
from deepfake.faces.tracker import Shot, Tracker
from deepfake.records import Detections, Frames
from deepfake.video.decode import LazyFrames, frame_size, resized_yuv, to_rgb


def frame(*boxes: tuple[float, float, float, float]) -> Detections:
    num = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(num, np.float32),
        np.zeros((num, 5, 2), np.float32),
    )


def box_at(x: float, y: float = 0.0, side: float = 10.0) -> tuple[float, float, float, float]:
    return (x, y, x + side, y + side)


def test_iou_of_half_overlapping_boxes_is_a_third() -> None:
    boxes = np.array([box_at(0)]), np.array([box_at(5), box_at(0), box_at(20)])
    assert iou(*boxes).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0]]


def test_jump_counts_in_face_sides_and_refuses_a_doubled_size() -> None:
    assert jump(np.array([box_at(0)]), np.array([box_at(15), (0, 0, 20, 20)])).tolist() == [[1.5, np.inf]]


def test_match_takes_the_cheapest_pairing_and_no_forbidden_pair() -> None:
    cost = np.array([[0.1, 0.2], [0.2, 0.9]])
    assert match(cost, 0.5) == [(0, 1), (1, 0)]
    assert match(np.array([[0.1, 0.9], [0.2, 0.9]]), 0.5) == [(0, 0)]
    assert match(np.zeros((0, 3)), 0.5) == []


def test_two_faces_side_by_side_keep_their_tracklets_when_the_detector_swaps_their_order() -> None:
    frames = [frame(box_at(0), box_at(50)), frame(box_at(51), box_at(1)), frame(box_at(2), box_at(52))]
    assert track_shot(frames, None, min_iou=0.3, max_gap_frames=0) == [
        {0: 0, 1: 1, 2: 0},
        {0: 1, 1: 0, 2: 1},
    ]


def test_a_tracklet_survives_the_allowed_gap_and_no_longer_one() -> None:
    frames = [frame(box_at(0)), frame(), frame(), frame(box_at(1))]
    assert track_shot(frames, None, min_iou=0.3, max_gap_frames=2) == [{0: 0, 3: 0}]
    assert track_shot(frames, None, min_iou=0.3, max_gap_frames=1) == [{0: 0}, {3: 0}]


def test_every_detection_belongs_to_exactly_one_tracklet() -> None:
    rng = np.random.default_rng(0)
    frames = [frame(*[box_at(*rng.uniform(0, 60, 2)) for _ in range(rng.integers(0, 4))]) for _ in range(30)]
    tracklets = track_shot(frames, None, min_iou=0.3, max_gap_frames=2)
    seen = sorted((step, which) for t in tracklets for step, which in t.items())
    assert seen == [(step, which) for step, found in enumerate(frames) for which in range(len(found))]


def test_a_new_clip_goes_on_with_the_near_track_and_starts_one_for_the_far_face() -> None:
    tracker = Tracker(FaceSettings(cut_distance=None, look_near=None, look_far=None))
    clips = [frame(box_at(0), box_at(100)), frame(box_at(108), box_at(300))]
    empty = Frames([np.zeros((4, 4, 3), np.uint8)], np.zeros(1, np.int64), np.zeros(1))
    followed = [tracker.follow(Shot(empty, is_new=False), [clip]) for clip in clips]
    assert [[number for number, _ in clip] for clip in followed] == [[0, 1], [1, 2]]


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
