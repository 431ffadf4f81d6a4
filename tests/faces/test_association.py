import numpy as np
import pytest

from deepfake.faces.association import iou, jump, match, track_shot
from deepfake.faces.settings import FaceSettings
from deepfake.faces.tracker import Shot, Tracker
from deepfake.records import Detections, Frames


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
