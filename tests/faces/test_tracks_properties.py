"""What holds of tracks over any detections: each has one, nobody is twice in a frame, order is nothing."""

from itertools import pairwise, permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepfake.faces.association import (
    Tracklet,
    covered,
    iou,
    match,
    split_changed,
    track_shot,
)
from deepfake.faces.settings import FaceSettings
from deepfake.faces.tracker import Shot, Tracker
from deepfake.records import Detections, Frames

HEIGHT, WIDTH = 60, 120
SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=8)
"""Faces on each frame of a shot."""
IOUS = st.floats(0.05, 0.9)


def random_detections(rng: np.random.Generator, counts: list[int]) -> list[Detections]:
    """So many boxes on each frame, of any place and size, many of them near each other."""
    found = []
    for num in counts:
        low = rng.uniform(0, 30, (num, 2)) + rng.choice([0.0, 0.0, 40.0], (num, 1))
        boxes = np.concatenate([low, low + rng.uniform(10, 25, (num, 2))], axis=1).astype(np.float32)
        found.append(Detections(boxes, np.ones(num, np.float32), np.zeros((num, 5, 2), np.float32)))
    return found


def members(tracklets: list[Tracklet]) -> list[tuple[int, int]]:
    return sorted((step, row) for tracklet in tracklets for step, row in tracklet.items())


def all_of(counts: list[int]) -> list[tuple[int, int]]:
    return [(step, row) for step, num in enumerate(counts) for row in range(num)]


def look_of(detections: list[Detections]) -> dict[tuple[int, int], np.ndarray]:
    """A look for each face, of its box alone."""
    looks = {}
    for step, found in enumerate(detections):
        for row, box in enumerate(found.boxes):
            colours = np.abs(np.sin(box.astype(float) + np.arange(4)))
            looks[step, row] = (colours / np.linalg.norm(colours)).astype(np.float32)
    return looks


@given(seed=SEEDS, counts=COUNTS, min_iou=IOUS, gap=st.integers(0, 3))
def test_every_detection_is_in_one_tracklet_and_no_gap_is_too_long(
    seed: int, counts: list[int], min_iou: float, gap: int
) -> None:
    detections = random_detections(np.random.default_rng(seed), counts)
    looks = look_of(detections)
    by_look = track_shot(detections, lambda step, row: looks[step, row], min_iou=min_iou, max_gap_frames=gap)
    by_place = track_shot(detections, None, min_iou=min_iou, max_gap_frames=gap)
    for tracklets in (by_look, by_place):
        assert members(tracklets) == all_of(counts)
        firsts = [min(tracklet) for tracklet in tracklets]
        assert firsts == sorted(firsts)
        for tracklet in tracklets:
            assert all(later - step <= gap + 1 for step, later in pairwise(sorted(tracklet)))
    for tracklet in by_place:
        for step, later in pairwise(sorted(tracklet)):
            first, second = detections[step].boxes, detections[later].boxes
            overlap = iou(first[[tracklet[step]]], second[[tracklet[later]]])[0, 0]
            assert overlap >= min_iou - 1e-5


@given(seed=SEEDS, counts=COUNTS, min_iou=IOUS, gap=st.integers(0, 3))
def test_the_order_of_a_frame_s_detections_changes_no_tracklet(
    seed: int, counts: list[int], min_iou: float, gap: int
) -> None:
    rng = np.random.default_rng(seed)
    detections = random_detections(rng, counts)
    orders = [rng.permutation(num) for num in counts]
    shuffled = [
        Detections(found.boxes[order], found.scores[order], found.landmarks[order])
        for found, order in zip(detections, orders, strict=True)
    ]

    def link(found: list[Detections]) -> tuple[list[Tracklet], list[Tracklet]]:
        looks = look_of(found)
        return (
            track_shot(found, lambda step, row: looks[step, row], min_iou=min_iou, max_gap_frames=gap),
            track_shot(found, None, min_iou=min_iou, max_gap_frames=gap),
        )

    for plain, other in zip(link(detections), link(shuffled), strict=True):
        back = [{step: int(orders[step][row]) for step, row in tracklet.items()} for tracklet in other]
        assert sorted(plain, key=lambda t: sorted(t.items())) == sorted(back, key=lambda t: sorted(t.items()))


@given(seed=SEEDS, num=st.integers(1, 9), change=st.floats(0, 1), step=st.floats(0, 1))
def test_a_tracklet_is_cut_into_pieces_in_order_that_are_all_of_it(
    seed: int, num: int, change: float, step: float
) -> None:
    detections = random_detections(np.random.default_rng(seed), [1] * num)
    looks, covers = look_of(detections), [covered(found.boxes) for found in detections]
    whole = dict.fromkeys(range(num), 0)
    pieces = split_changed(whole, covers, lambda s, row: looks[s, row], max_change=change, max_step=step)
    assert [s for piece in pieces for s in sorted(piece)] == list(range(num))


@given(seed=SEEDS, rows=st.integers(0, 4), columns=st.integers(0, 4), most=st.floats(0.1, 1))
def test_matches_are_as_many_as_can_be_and_the_cheapest_of_those(
    seed: int, rows: int, columns: int, most: float
) -> None:
    cost = np.random.default_rng(seed).random((rows, columns))
    pairs = match(cost, most)
    assert all(cost[pair] <= most for pair in pairs)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    tall = cost if rows >= columns else cost.T
    choices = [
        [tall[row, column] for column, row in enumerate(order) if tall[row, column] <= most]
        for order in permutations(range(tall.shape[0]), tall.shape[1])
    ]
    best = min((-len(choice), sum(choice)) for choice in choices)
    assert (-len(pairs), round(sum(cost[pair] for pair in pairs), 9)) == (best[0], round(best[1], 9))


@given(seed=SEEDS, counts=st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_overlap_is_symmetric_within_0_and_1_and_whole_with_itself(
    seed: int, counts: tuple[int, int]
) -> None:
    one, other = (found.boxes for found in random_detections(np.random.default_rng(seed), list(counts)))
    overlap = iou(one, other)
    assert overlap.shape == counts
    np.testing.assert_allclose(overlap, iou(other, one).T, rtol=1e-6)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_allclose(np.diag(iou(one, one)), 1, rtol=1e-6)
    assert ((covered(one) >= 0) & (covered(one) <= 1 + 1e-6)).all()


@given(seed=SEEDS, clips=st.lists(COUNTS, min_size=1, max_size=3))
def test_over_a_video_each_detection_has_one_track_and_no_track_is_twice_in_a_frame(
    seed: int, clips: list[list[int]]
) -> None:
    by_position = FaceSettings(cut_distance=None, look_near=None, look_far=None)
    for tracker in (Tracker(FaceSettings()), Tracker(by_position)):
        rng, numbers = np.random.default_rng(seed), set[int]()
        for place, counts in enumerate(clips):
            rgb = [rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for _ in counts]
            index = 100 * place + np.arange(len(counts))
            for shot in tracker.shots(Frames(rgb, index, index / 25)):
                found = random_detections(rng, counts[: len(shot.frames)])
                followed = tracker.follow(Shot(shot.frames, shot.is_new), found)
                faces = members([tracklet for _, tracklet in followed])
                assert faces == all_of([len(one) for one in found])
                on_frames = [(number, step) for number, tracklet in followed for step in tracklet]
                assert len(set(on_frames)) == len(on_frames)
                numbers |= {number for number, _ in followed}
        assert numbers == set(range(len(numbers)))
