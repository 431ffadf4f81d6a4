import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from deepfake.faces import extract
from deepfake.faces.extract import Stopwatch, extract_faces
from deepfake.faces.settings import FaceSettings
from deepfake.records import Detections, Frames, VideoInfo
from deepfake.video.decode import Shown

INFO = VideoInfo(num_frames=99, fps=25, width=200, height=200, rotation_deg=0, codec="h264", container="mov")
BOX = np.array([[60, 60, 120, 140]], np.float32)


def one_face(frames: Sequence[np.ndarray]) -> list[Detections]:
    """A face that always stands at the same place."""
    return [Detections(BOX, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32)) for _ in frames]


def clip(number: int) -> Frames:
    index = number * 30 + np.arange(8)
    return Frames(Shown([np.full((200, 200, 3), number, np.uint8)] * 8), index, index / 25)


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A film of three clips, of which only one is in memory at a time."""

    def clips() -> Iterator[Frames]:
        before = None
        for number in range(3):
            assert before is None or before() is None, "the last clip is still held"
            made = clip(number)
            before = weakref.ref(made.rgb)
            yield made
            del made

    monkeypatch.setattr(extract, "sample", lambda *_: (INFO, clips()))
    path = tmp_path / "film.mp4"
    path.write_bytes(b"four")
    return path


def test_one_clip_at_a_time_is_in_memory_and_one_face_is_one_track(film: Path) -> None:
    faces = extract_faces(film, FaceSettings(), one_face)
    assert faces.sampled == (*range(8), *range(30, 38), *range(60, 68))
    assert faces.column("frame").tolist() == list(faces.sampled)
    assert set(faces.column("track")) == {0}
    assert faces.column("detected").tolist() == ([True] + [False] * 6 + [True]) * 3
    assert np.array_equal(faces.boxes, np.repeat(BOX, 24, axis=0))
    assert faces.source_bytes == 4


def test_the_seconds_of_each_stage_are_told(film: Path) -> None:
    stopwatch = Stopwatch()
    extract_faces(film, FaceSettings(), one_face, stopwatch)
    assert set(stopwatch.seconds) == {"scan", "decode", "detect", "follow", "crop"}
    assert all(seconds > 0 for seconds in stopwatch.seconds.values())
