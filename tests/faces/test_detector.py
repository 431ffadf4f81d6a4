from collections.abc import Sequence

import numpy as np
import pytest

from deepfake.faces.detector import agreeing_pairs, detect_clip, key_frame_steps
from deepfake.records import Detections

FRAMES = [np.full((2, 2, 3), step, np.uint8) for step in range(8)]


def faces(*boxes: tuple[float, float, float, float], score: float = 0.99) -> Detections:
    num = len(boxes)
    landmarks = np.array([[box[:2]] * 5 for box in boxes], np.float32).reshape(num, 5, 2)
    return Detections(np.array(boxes, np.float32).reshape(num, 4), np.full(num, score, np.float32), landmarks)


class Seen:
    """A detector that knows each frame's faces by the frame's value, and remembers what it was asked."""

    def __init__(self, found: dict[int, Detections]) -> None:
        self.found = found
        self.asked: list[list[int]] = []

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        self.asked.append([int(frame[0, 0, 0]) for frame in frames])
        return [self.found[step] for step in self.asked[-1]]


def moving(step: int) -> tuple[float, float, float, float]:
    return (10.0 + step / 2, 20.0, 50.0 + step / 2, 60.0 - step / 2)


@pytest.mark.parametrize(
    ("num_frames", "every", "steps"),
    [
        (8, 7, [0, 7]),
        (8, 1, list(range(8))),
        (8, 4, [0, 4, 7]),
        (1, 7, [0]),
        (2, 7, [0, 1]),
        (16, 7, [0, 5, 10, 15]),
    ],
)
def test_first_and_last_frame_are_always_looked_at(num_frames: int, every: int, steps: list[int]) -> None:
    assert key_frame_steps(num_frames, every) == steps


def test_a_face_that_moves_evenly_is_found_on_every_frame_from_two_looks() -> None:
    detector = Seen({0: faces(moving(0), score=0.99), 7: faces(moving(7), score=0.98)})
    found, detected = detect_clip(FRAMES, detector, every=7, min_agreement=0.6)
    assert detector.asked == [[0, 7]]
    assert detected.tolist() == [True] + [False] * 6 + [True]
    for step, detections in enumerate(found):
        assert detections.boxes[0] == pytest.approx(moving(step), abs=1e-4)
        assert detections.landmarks[0, 4] == pytest.approx(moving(step)[:2], abs=1e-4)
    assert [float(d.scores[0]) for d in found] == pytest.approx([0.99] + [0.98] * 7)


def test_two_faces_are_told_apart_though_their_order_changes() -> None:
    left, right = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 139.0, 39.0)
    detector = Seen({0: faces(left, right), 7: faces(right, left)})
    found, _ = detect_clip(FRAMES, detector, every=7, min_agreement=0.6)
    assert found[3].boxes.tolist() == [list(left), list(right)]


@pytest.mark.parametrize(
    "last",
    [
        faces((40.0, 20.0, 80.0, 60.0)),  # too far away
        faces(moving(0), score=0.96),  # unsure
        faces(),  # gone
        faces(moving(0), (100.0, 0.0, 140.0, 40.0)),  # somebody came
    ],
)
def test_where_two_looks_do_not_agree_every_frame_between_is_looked_at(last: Detections) -> None:
    detector = Seen({step: faces(moving(step)) for step in range(7)} | {7: last})
    found, detected = detect_clip(FRAMES, detector, every=7, min_agreement=0.6)
    assert detector.asked == [[0, 7], [1, 2, 3, 4, 5, 6]]
    assert detected.all()
    assert found[3].boxes[0].tolist() == list(moving(3))


def test_only_the_stretch_without_agreement_is_looked_at() -> None:
    detector = Seen({step: faces(moving(step)) for step in range(8)} | {4: faces((200.0, 0.0, 240.0, 40.0))})
    _, detected = detect_clip(FRAMES, detector, every=4, min_agreement=0.6)
    assert detector.asked == [[0, 4, 7], [1, 2, 3, 5, 6]]
    assert detected.all()
    detector = Seen({step: faces(moving(step)) for step in range(7)} | {7: faces()})
    detect_clip(FRAMES, detector, every=4, min_agreement=0.6)
    assert detector.asked == [[0, 4, 7], [5, 6]]


def test_frames_without_a_face_at_both_ends_are_looked_at_all() -> None:
    detector = Seen({0: faces(), 7: faces()} | {step: faces(moving(step)) for step in range(1, 7)})
    found, detected = detect_clip(FRAMES, detector, every=7, min_agreement=0.6)
    assert [len(d) for d in found] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert detected.all()


def test_agreement_asks_for_the_iou_it_is_given() -> None:
    a, b = faces((0.0, 0.0, 40.0, 40.0)), faces((10.0, 0.0, 50.0, 40.0))  # IoU 30 / 50
    assert agreeing_pairs(a, b, min_iou=0.59) == [(0, 0)]
    assert agreeing_pairs(a, b, min_iou=0.61) is None


def test_where_agreement_is_in_doubt_every_frame_between_is_looked_at() -> None:
    asked: list[tuple[int, int, list[tuple[int, int]]]] = []

    def needs_detection(
        before: tuple[int, Detections], after: tuple[int, Detections], pairs: list[tuple[int, int]]
    ) -> bool:
        asked.append((before[0], after[0], pairs))
        return before[0] == 4

    detector = Seen({step: faces(moving(step)) for step in range(8)})
    _, detected = detect_clip(FRAMES, detector, every=4, min_agreement=0.6, needs_detection=needs_detection)
    assert asked == [(0, 4, [(0, 0)]), (4, 7, [(0, 0)])]
    assert detector.asked == [[0, 4, 7], [5, 6]]
    assert detected.tolist() == [True] + [False] * 3 + [True] * 4
