"""Tracks in rendered videos of several people, compared with the known positions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from extracted import extracted_faces
from multi_person_scenes import SceneVideo, kept_tracks

from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import VideoFaces

SAMPLED = FaceSettings()
EVERY_FRAME = FaceSettings(num_clips=None, clip_frames=32)
BEFORE = replace(SAMPLED, cut_distance=None, look_near=None, look_far=None)

SceneVideos = Callable[[str], SceneVideo]


@pytest.fixture(scope="module")
def followed(scene_video: SceneVideos) -> Callable[[str, FaceSettings], tuple[VideoFaces, SceneVideo]]:
    """The faces of a video with some settings, extracted once, and the video."""
    known: dict[tuple[str, FaceSettings], VideoFaces] = {}

    def follow(name: str, settings: FaceSettings) -> tuple[VideoFaces, SceneVideo]:
        video = scene_video(name)
        if (name, settings) not in known:
            known[name, settings] = extracted_faces(video.path, settings)
        return known[name, settings], video

    return follow


Followed = Callable[[str, FaceSettings], tuple[VideoFaces, SceneVideo]]


@pytest.mark.parametrize("settings", [SAMPLED, EVERY_FRAME], ids=["sampled", "every frame"])
@pytest.mark.parametrize("name", ["side_by_side", "crossing"])
def test_two_people_keep_their_tracks(followed: Followed, name: str, settings: FaceSettings) -> None:
    faces, video = followed(name, settings)
    first, second = kept_tracks(faces, video)
    assert first.track != second.track
    assert min(first.share, second.share) >= 0.95
    for number, kept in enumerate((first, second)):
        # of the frames on which hardly anything hides the face, it is found on nearly all
        seen = int((video.visible[list(faces.sampled), number] > 0.75).sum())
        assert kept.detections * kept.share >= 0.95 * seen


@pytest.mark.parametrize("settings", [SAMPLED, EVERY_FRAME], ids=["sampled", "every frame"])
@pytest.mark.parametrize("name", ["cut_between_rooms", "cut_within_room"])
def test_two_people_before_and_after_a_cut_in_the_midst_of_a_clip_are_two_tracks(
    followed: Followed, name: str, settings: FaceSettings
) -> None:
    faces, video = followed(name, settings)
    assert len(faces.track_rows) == 2
    first, second = kept_tracks(faces, video)
    assert (first.track != second.track, first.share, second.share) == (True, 1.0, 1.0)


@pytest.mark.parametrize("settings", [SAMPLED, EVERY_FRAME], ids=["sampled", "every frame"])
def test_boxes_and_clips_never_span_a_cut(followed: Followed, settings: FaceSettings) -> None:
    faces, _ = followed("cut_between_rooms", settings)
    clip, frame = faces.column("clip"), faces.column("frame")
    assert not set(clip[frame < 35]) & set(clip[frame >= 35])
    assert faces.column("detected")[np.isin(frame, [34, 35])].all()


def test_by_position_alone_two_people_are_one_track(followed: Followed) -> None:
    faces, _ = followed("cut_between_rooms", BEFORE)
    assert len(faces.track_rows) == 1


@pytest.mark.parametrize("settings", [SAMPLED, EVERY_FRAME], ids=["sampled", "every frame"])
def test_somebody_seen_again_after_a_cut_back_is_one_track(
    followed: Followed, settings: FaceSettings
) -> None:
    faces, video = followed("away_and_back", settings)
    first, second = kept_tracks(faces, video)
    assert len(faces.track_rows) == 2
    assert (first.share, second.share) == (1.0, 1.0)
    frame = faces.column("frame")[faces.track_rows[first.track]]
    assert (frame.min(), frame.max()) == (0, 63)


def test_in_an_empty_room_there_is_nobody(followed: Followed) -> None:
    faces, _ = followed("empty_room", EVERY_FRAME)
    assert (len(faces.table), faces.sampled) == (0, tuple(range(16)))


def test_of_every_frame_a_track_s_steps_run_on_from_chunk_to_chunk(followed: Followed) -> None:
    faces, _ = followed("side_by_side", EVERY_FRAME)
    for rows in faces.track_rows:
        assert faces.column("step")[rows].tolist() == list(range(64))
        assert set(faces.column("clip")[rows]) == {0}


def test_a_real_video_of_one_person_has_the_tracks_it_had_before(ffpp_videos: Path) -> None:
    path = next(ffpp_videos.rglob("004.mp4"))
    ours, before = (extracted_faces(path, replace(s, num_clips=6)) for s in (SAMPLED, BEFORE))
    assert [len(rows) for rows in ours.track_rows] == [len(rows) for rows in before.track_rows] == [48]
    assert np.array_equal(ours.boxes, before.boxes)
