"""People told apart by where they move and by their colours, in painted frames with given boxes."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from deepfake.faces.association import (
    ambiguous_pairs,
    covered,
    expected_box,
    least_covered_steps,
    speed_of,
    split_changed,
    track_shot,
)
from deepfake.faces.settings import FaceSettings
from deepfake.faces.tracker import (
    Shot,
    Stretch,
    Track,
    Tracker,
    join_cost,
)
from deepfake.records import Detections, Frames

Box = tuple[float, float, float, float]
People = dict[str, float]
"""Who is in a frame, and where their left edge is."""

COLOURS = {"anna": (210, 160, 130), "ben": (120, 80, 60), "carl": (60, 60, 190)}
GREY, GREEN = (128, 128, 128), (40, 160, 40)
SIDE = 40.0
BY_POSITION = FaceSettings(cut_distance=None, look_near=None, look_far=None)


def box_at(x: float, y: float = 30.0) -> Box:
    return (x, y, x + SIDE, y + SIDE)


def detections(*boxes: Box) -> Detections:
    num = len(boxes)
    points = np.zeros((num, 5, 2), np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(num, np.float32), points)


def painted(people: People, room: tuple[int, int, int] = GREY) -> np.ndarray:
    """A frame with everybody's colour where they are; who is named later is in front."""
    picture = np.full((100, 400, 3), room, np.uint8)
    for name, x in people.items():
        picture[20:80, max(int(x) - 10, 0) : int(x) + 50] = COLOURS[name]
    return picture


def shot(
    *frames: People, start: int = 0, room: tuple[int, int, int] = GREY, is_new: bool = False
) -> tuple[Shot, list[Detections]]:
    """The frames as a shot, and the box of everybody in them, in order of name."""
    index = start + np.arange(len(frames))
    pictures = [painted(people, room) for people in frames]
    boxes = [detections(*[box_at(people[name]) for name in sorted(people)]) for people in frames]
    return Shot(Frames(pictures, index, index / 25), is_new), boxes


def tracks(tracker: Tracker, *shots: tuple[Shot, Sequence[Detections]]) -> list[list[tuple[int, ...]]]:
    """For each shot (track, first step, last step) of its tracklets, in order."""
    return [
        sorted((number, min(t), max(t)) for number, t in tracker.follow(one, found)) for one, found in shots
    ]


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(FaceSettings())


def test_people_who_change_places_between_clips_keep_their_numbers(tracker: Tracker) -> None:
    first = shot(*[{"anna": 20, "ben": 200}] * 2)
    second = shot(*[{"anna": 200, "ben": 20}] * 2, start=50)
    assert tracks(tracker, first, second) == [[(0, 0, 1), (1, 0, 1)]] * 2
    # anna's box is the first in both, but by position alone the second's first would be the other one
    older = Tracker(BY_POSITION)
    assert [number for number, _ in older.follow(*first)] == [0, 1]
    assert [number for number, _ in older.follow(*second)] == [1, 0]


def test_somebody_else_at_the_same_place_is_somebody_else(tracker: Tracker) -> None:
    clips = (shot({"anna": 20}), shot({"ben": 20}, start=50), shot({"anna": 22}, start=99))
    assert tracks(tracker, *clips) == [[(0, 0, 0)], [(1, 0, 0)], [(0, 0, 0)]]


def test_a_person_seen_again_far_away_is_known_by_the_looks_only(tracker: Tracker) -> None:
    clips = (shot({"anna": 20}), shot({"anna": 300}, start=50), shot({"carl": 20}, start=99))
    assert tracks(tracker, *clips) == [[(0, 0, 0)], [(0, 0, 0)], [(1, 0, 0)]]


def test_a_cut_parts_a_clip_and_the_clips_beside_it(tracker: Tracker) -> None:
    pictures = [painted({"anna": 20})] * 3 + [painted({"ben": 20}, room=GREEN)] * 2
    frames = Frames(pictures, np.arange(5), np.arange(5) / 25)
    parts = tracker.shots(frames)
    assert [part.frames.index.tolist() for part in parts] == [[0, 1, 2], [3, 4]]
    assert [part.is_new for part in parts] == [False, True]
    later = Frames(pictures[3:], 20 + np.arange(2), 1 + np.arange(2) / 25)
    assert [part.is_new for part in tracker.shots(later)] == [False]
    assert [part.is_new for part in tracker.shots(replace(later, rgb=pictures[:2]))] == [True]


def test_behind_a_cut_looks_must_agree_more_closely() -> None:
    def stretch(first_s: float, index: int, looks: np.ndarray) -> Stretch:
        box = np.array(box_at(20), np.float32)
        return Stretch(
            first_s=first_s,
            last_s=first_s + 1,
            shot=index,
            first_box=box,
            last_box=box,
            speed=np.zeros(4, np.float32),
            appearances=looks[None].astype(np.float32),
            clear=True,
        )

    known = np.array([1.0, 0.0])
    track = Track()
    track.take(stretch(0, 0, known))
    distances = (0.1, 0.2, 0.3)
    cosines = [1 - d**2 for d in distances]
    others = [np.array([c, (1 - c**2) ** 0.5]) for c in cosines]
    for index, allowed in ((0, [True, True, False]), (1, [True, False, False])):
        later = [stretch(2, index, other) for other in others]
        cost = join_cost([track], later, max_jump=1.5, look_near=0.25, look_far=0.18)
        assert np.isfinite(cost[0]).tolist() == allowed
        # the place counts for half as much at most, and after a cut in full
        assert cost[0, 0] == pytest.approx(0.1 / 0.25 + (0.5 if index else 0), abs=1e-5)
    beside = [stretch(0.5, 0, known)]
    assert np.isinf(join_cost([track], beside, max_jump=1.5, look_near=0.25, look_far=0.18)).all()


Looks = Callable[[int, int], np.ndarray]


def looks_of(names: Sequence[Sequence[str]]) -> Looks:
    """Looks that are the same or wholly apart, by who is found in which row of which step."""
    order = sorted({name for step in names for name in step})
    return lambda step, which: np.eye(len(order), dtype=np.float32)[order.index(names[step][which])]


def test_two_who_meet_are_linked_by_their_looks_where_boxes_say_little() -> None:
    # they turn back where they meet; by their movement alone they would pass each other
    left, right = [0, 12, 24, 24, 12, 0], [72, 60, 48, 48, 60, 72]
    found = [detections(box_at(x), box_at(y)) for x, y in zip(left, right, strict=True)]
    same = looks_of([["anna", "ben"]] * 6)
    assert track_shot(found, same, min_iou=0.3, max_gap_frames=0) == [
        dict.fromkeys(range(6), 0),
        dict.fromkeys(range(6), 1),
    ]
    crossed = looks_of([["anna", "ben"]] * 3 + [["ben", "anna"]] * 3)
    (first, second) = track_shot(found, crossed, min_iou=0.1, max_gap_frames=0)
    assert first == {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1}
    assert second == {0: 1, 1: 1, 2: 1, 3: 0, 4: 0, 5: 0}


def test_a_fast_face_is_expected_where_it_would_be_by_now() -> None:
    found = [detections(box_at(10 * step)) for step in range(4)]
    found += [detections()] * 3 + [detections(box_at(70))]
    linked = track_shot(found, looks_of([]), min_iou=0.5, max_gap_frames=3)
    assert linked == [{0: 0, 1: 0, 2: 0, 3: 0, 7: 0}]
    # without its speed it would be ten pixels of forty beside each time, and forty at last
    boxes = {step: np.array(box_at(10 * step), np.float32) for step in (2, 3, 4)}
    assert speed_of(boxes).tolist() == [10, 0, 10, 0]
    assert expected_box(boxes, 7).tolist() == list(box_at(70))
    assert speed_of({2: boxes[2]}).tolist() == [0, 0, 0, 0]


def test_pairs_are_doubtful_where_there_is_another() -> None:
    near = np.array([[True, False, False], [False, True, True], [False, False, False]])
    assert ambiguous_pairs(near) == [(1, 1), (1, 2)]


def test_what_covers_a_box_is_told_as_a_share_of_it() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 25, 10], [100, 0, 110, 10]], np.float32)
    assert covered(boxes).tolist() == [0.5, 0.25, 0]
    assert covered(boxes[:1]).tolist() == [0]


def test_the_clearest_steps_are_those_without_others_or_the_least_covered() -> None:
    covers = [np.array([0.0, 0.4]), np.array([0.3, 0.2]), np.array([0.05, 0.1])]
    assert least_covered_steps({0: 0, 1: 0, 2: 0}, covers) == [0, 2]
    assert least_covered_steps({0: 1, 1: 1}, covers) == [1]


def test_a_tracklet_is_cut_where_another_person_took_the_place() -> None:
    names = [["anna"]] * 3 + [["ben"]] * 2
    covers = [np.zeros(1)] * 5
    tracklet = dict.fromkeys(range(5), 0)
    split = split_changed(tracklet, covers, looks_of(names), max_change=0.25, max_step=0.18)
    assert split == [{0: 0, 1: 0, 2: 0}, {3: 0, 4: 0}]
    same = looks_of([["anna"]] * 5)
    assert split_changed(tracklet, covers, same, max_change=0.25, max_step=0.18) == [tracklet]


def test_a_face_that_slowly_turns_is_still_one() -> None:
    angles = np.linspace(0, np.pi / 3, 9)
    looks = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    tracklet = dict.fromkeys(range(9), 0)
    covers = [np.zeros(1)] * 9
    found = split_changed(tracklet, covers, lambda step, _: looks[step], max_change=0.25, max_step=0.18)
    assert found == [tracklet]
