"""Tracking faces over a whole video: shots, tracklets in each, and which tracklets are one person."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from deepfake.faces.association import (
    MAX_COVER,
    HistogramOf,
    Tracklet,
    boxes_of,
    covered,
    distance,
    face_histogram,
    histogram_distance,
    jump,
    least_covered_steps,
    match,
    scene_histogram,
    speed_of,
    split_changed,
    track_shot,
)
from deepfake.faces.detector import KeyFrame, NeedsDetection
from deepfake.faces.settings import FaceSettings
from deepfake.records import Detections, Frames

KEPT_HISTOGRAMS = 16  # of a track: it may be joined with any of them
EXTRAPOLATED_S = 1.0  # for how long a face that is out of sight is thought to move on
PLACE_WEIGHT = 0.5  # of the distance in pixels beside that of appearance: decides between similar people
COST_LIMIT = 10.0  # above all costs that are not infinite
ALONE = 1.0  # the cost of taking two faces for two people


class Shot(NamedTuple):
    """Neighbouring frames of one clip without a cut between; is_new: a cut lies right before them."""

    frames: Frames
    is_new: bool


class Tracker:
    """Follows the faces of one video, clip by clip, by position and appearance, with shot boundaries.

    A person may be out of sight for any time. Where the settings have no distance of appearances it follows
    them by position alone.
    """

    def __init__(self, settings: FaceSettings) -> None:
        self.settings, self.by_position = settings, settings.look_near is None
        self.look_near, self.look_far = settings.look_near or 0.0, settings.look_far or 0.0
        self.tracks: list[Track] = []
        self.last_boxes: list[np.ndarray] = []  # of each track so far, by position
        self.shot_index = 0
        self.last_scene: np.ndarray | None = None
        self.known_histograms: dict[tuple[int, bytes], np.ndarray] = {}  # of the present shot

    def shots(self, frames: Frames) -> list[Shot]:
        """The next clip split at cuts; also between clips a picture that became another counts as a cut."""
        if self.settings.cut_distance is None:
            return [Shot(frames, is_new=False)]
        scenes = [scene_histogram(frames.rgb, place) for place in range(len(frames))]
        before = scenes[0] if self.last_scene is None else self.last_scene
        changes = [distance(one, other) for one, other in pairwise([before, *scenes])]
        cuts = {place for place, change in enumerate(changes) if change > self.settings.cut_distance}
        self.last_scene = scenes[-1]
        return [
            Shot(
                Frames(frames.rgb[start:stop], frames.index[start:stop], frames.time_s[start:stop]),
                is_new=start in cuts,
            )
            for start, stop in pairwise([*sorted({0, *cuts}), len(frames)])
        ]

    def needs_detection(self, shot: Shot) -> NeedsDetection | None:
        """Whether people may have passed each other: their boxes overlap, or one's appearance changed."""

        def pass_by(before: KeyFrame, after: KeyFrame, pairs: list[tuple[int, int]]) -> bool:
            if any(covered(found.boxes).any() for _, found in (before, after)):
                return True
            changes = (
                distance(
                    self.appearance(shot, before[0], before[1].boxes[one]),
                    self.appearance(shot, after[0], after[1].boxes[other]),
                )
                for one, other in pairs
            )
            return max(changes) > self.look_far

        return None if self.by_position else pass_by

    def follow(self, shot: Shot, detections: Sequence[Detections]) -> list[tuple[int, Tracklet]]:
        """Tracklets of the next shot, and the number of the track that each goes on with."""
        track = partial(
            track_shot,
            detections,
            min_iou=self.settings.min_iou,
            max_gap_frames=self.settings.max_gap_frames,
        )
        if self.by_position:
            tracklets = track(None)
            return list(zip(self.join_by_position(tracklets, detections), tracklets, strict=True))

        def appearance(step: int, which: int) -> np.ndarray:
            return self.appearance(shot, step, detections[step].boxes[which])

        self.shot_index += shot.is_new
        covers = [covered(found.boxes) for found in detections]
        tracklets = [
            piece
            for tracklet in track(appearance)
            for piece in split_changed(
                tracklet, covers, appearance, max_change=self.look_near, max_step=self.look_far
            )
        ]
        stretches = [
            stretch_of(tracklet, shot.frames, detections, covers, appearance, shot=self.shot_index)
            for tracklet in tracklets
        ]
        self.known_histograms.clear()
        return list(zip(self.join(stretches), tracklets, strict=True))

    def appearance(self, shot: Shot, step: int, box: np.ndarray) -> np.ndarray:
        """The appearance of a box in a frame of the shot, (D,), made once."""
        key = step, box.tobytes()
        if key not in self.known_histograms:
            self.known_histograms[key] = face_histogram(shot.frames.rgb, step, box)
        return self.known_histograms[key]

    def join_by_position(self, tracklets: list[Tracklet], detections: Sequence[Detections]) -> list[int]:
        """The track that each tracklet goes on with: that whose last box is nearest, within max_jump."""
        first = box_array([detections[min(t)].boxes[t[min(t)]] for t in tracklets])
        cost = jump(box_array(self.last_boxes), first)
        known = {column: row for row, column in match(cost, self.settings.max_jump)}
        numbers = []
        for place, tracklet in enumerate(tracklets):
            numbers.append(known.get(place, len(self.last_boxes)))
            last = detections[max(tracklet)].boxes[tracklet[max(tracklet)]]
            self.last_boxes[numbers[-1] : numbers[-1] + 1] = [last]
        return numbers

    def join(self, stretches: Sequence[Stretch]) -> list[int]:
        """The track that each stretch of a shot goes on with: in rounds, each track the best one it can have.

        A stretch that no track can have is a new one, the longest first.
        """
        for track in self.tracks:
            del track.stretches[:-1]
        numbers: dict[int, int] = {}
        while left := [n for n in range(len(stretches)) if n not in numbers]:
            cost = join_cost(
                self.tracks,
                [stretches[n] for n in left],
                max_jump=self.settings.max_jump,
                look_near=self.look_near,
                look_far=self.look_far,
            )
            pairs = match(cost, COST_LIMIT, alone=ALONE)
            if not pairs:
                longest = max(left, key=lambda n: stretches[n].last_s - stretches[n].first_s)
                pairs = [(len(self.tracks), left.index(longest))]
                self.tracks.append(Track())
            for row, column in pairs:
                self.tracks[row].take(stretches[left[column]])
                numbers[left[column]] = row
        return [numbers[n] for n in range(len(stretches))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What joining needs to know about one tracklet.

    first_s, last_s: time in the video. shot: its index in the video. first_box, last_box: (4,) pixels. speed:
    (4,) pixels a second at its end. appearances: (L, D) float32. clear: nobody was before the face in them.
    """

    first_s: float
    last_s: float
    shot: int
    first_box: np.ndarray
    last_box: np.ndarray
    speed: np.ndarray
    appearances: np.ndarray
    clear: bool

    def moved(self, later: Stretch) -> float:
        """Face sides from here to a later stretch, or from where it would have moved to; inf after a cut."""
        if later.shot != self.shot:
            return np.inf
        gap_s = later.first_s - self.last_s
        there = self.last_box + self.speed * (gap_s if gap_s <= EXTRAPOLATED_S else 0)
        return float(jump(np.stack([self.last_box, there]), later.first_box[None]).min())


class Track:
    """A person so far: stretches in order, from the last one before the present shot; all appearances."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.appearances: deque[np.ndarray] = deque(maxlen=KEPT_HISTOGRAMS)

    def take(self, stretch: Stretch) -> None:
        """Take a stretch in."""
        self.stretches = sorted([*self.stretches, stretch], key=lambda one: one.first_s)
        if stretch.clear or not self.appearances:
            self.appearances.extend(stretch.appearances)

    def moved(self, stretch: Stretch) -> float | None:
        """How far a stretch is from those before and after it, in face sides; None if it is beside one."""
        before = [one for one in self.stretches if one.last_s < stretch.first_s]
        after = [one for one in self.stretches if one.first_s > stretch.last_s]
        if len(before) + len(after) < len(self.stretches):
            return None
        return min([one.moved(stretch) for one in before[-1:]] + [stretch.moved(one) for one in after[:1]])


def join_cost(
    tracks: Sequence[Track],
    stretches: Sequence[Stretch],
    *,
    max_jump: float,
    look_near: float,
    look_far: float,
) -> np.ndarray:
    """What it costs to take a stretch into a track, (N, M); infinite where they are two people.

    Two stretches are one person if they are within max_jump face sides of where the track would be, in the
    same shot, with appearances at most look_near apart; or anywhere with appearances at most look_far apart.
    """
    cost = np.full((len(tracks), len(stretches)), np.inf)
    for row, track in enumerate(tracks):
        for column, stretch in enumerate(stretches):
            moved = track.moved(stretch)
            if moved is None:
                continue
            appearances = float(histogram_distance(np.stack(track.appearances), stretch.appearances).min())
            if appearances <= (look_near if moved <= max_jump else look_far):
                cost[row, column] = appearances / look_near + PLACE_WEIGHT * min(moved / max_jump, 1)
    return cost


def stretch_of(
    tracklet: Tracklet,
    frames: Frames,
    detections: Sequence[Detections],
    covers: Sequence[np.ndarray],
    appearance: HistogramOf,
    *,
    shot: int,
) -> Stretch:
    """What joining wants to know of a tracklet."""
    first, last = min(tracklet), max(tracklet)
    steps = least_covered_steps(tracklet, covers)
    recent = boxes_of(tracklet, detections)
    duration_s = float(frames.time_s[last] - frames.time_s[min(recent)])
    return Stretch(
        first_s=float(frames.time_s[first]),
        last_s=float(frames.time_s[last]),
        shot=shot,
        first_box=detections[first].boxes[tracklet[first]],
        last_box=detections[last].boxes[tracklet[last]],
        speed=speed_of(recent) * ((last - min(recent)) / duration_s if duration_s else 0),
        appearances=np.stack([appearance(step, tracklet[step]) for step in sorted({steps[0], steps[-1]})]),
        clear=bool(covers[steps[0]][tracklet[steps[0]]] <= MAX_COVER),
    )


def box_array(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Boxes as (N, 4) float32, also when there are none."""
    return np.array(boxes, np.float32).reshape(-1, 4)
