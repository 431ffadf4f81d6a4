import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
import pytest

from deepfake.faces import extract
from deepfake.faces.extract import ROWS_PER_BATCH, extract_faces, write_rows
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import SCHEMA, SourceFile, VideoFaces, read_faces
from deepfake.records import Detections, Frames, VideoInfo
from deepfake.video.decode import LazyFrames

INFO = VideoInfo(num_frames=99, fps=25, width=200, height=200, rotation_deg=0, codec="h264", container="mov")
SOURCE = SourceFile("/a.mp4", 7, 1, "few", "many")
BOX = np.array([[60, 60, 120, 140]], np.float32)


def one_face(frames: Sequence[np.ndarray]) -> list[Detections]:
    """A face that always stands at the same place."""
    return [Detections(BOX, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32)) for _ in frames]


def clip(number: int) -> Frames:
    index = number * 30 + np.arange(8)
    return Frames(LazyFrames([np.full((200, 200, 3), number, np.uint8)] * 8), index, index / 25)


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

    monkeypatch.setattr(extract, "sample_clips", lambda *_: (INFO, clips()))
    path = tmp_path / "film.mp4"
    path.write_bytes(b"four")
    return path


def test_one_clip_at_a_time_is_in_memory_and_one_face_is_one_track(film: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    extracted = extract_faces(
        film, tmp_path / "faces", FaceSettings(), detector=one_face, progress=seen.append
    )
    faces = read_faces(tmp_path / "faces")
    assert (extracted.frames, extracted.faces, extracted.mask_error) == (24, 24, "")
    assert seen == [7, 37, 67]
    assert faces.sampled == (*range(8), *range(30, 38), *range(60, 68))
    assert faces.column("frame").tolist() == list(faces.sampled)
    assert set(faces.column("track")) == {0}
    assert faces.column("detected").tolist() == ([True] + [False] * 6 + [True]) * 3
    assert np.array_equal(faces.boxes, np.repeat(BOX, 24, axis=0))
    assert faces.source == SourceFile.of(film)


def test_the_seconds_of_each_stage_are_returned(film: Path, tmp_path: Path) -> None:
    extracted = extract_faces(film, tmp_path / "faces", FaceSettings(), detector=one_face)
    assert set(extracted.seconds) == {"scan", "decode", "detect", "follow", "crop", "write"}
    assert all(seconds > 0 for seconds in extracted.seconds.values())


def test_a_mask_that_cannot_be_read_costs_only_the_mask_shares(film: Path, tmp_path: Path) -> None:
    into, mask = tmp_path / "faces", tmp_path / "mask.mp4"
    mask.write_bytes(b"no video")
    extracted = extract_faces(film, into, FaceSettings(), detector=one_face, mask=mask)
    assert str(mask) in extracted.mask_error
    assert read_faces(into).mask_shares is None
    assert len(read_faces(into).table) == 24


def test_more_crops_than_fit_into_a_batch_or_into_memory_are_written_in_order(tmp_path: Path) -> None:
    num = 2 * ROWS_PER_BATCH + 3
    jpegs = [bytes([number % 256]) * (10 + number % 7) for number in range(num)]
    rows = []
    with SpooledTemporaryFile(max_size=100, dir=tmp_path) as crops:
        for number, jpeg in enumerate(jpegs):
            row = {"track": 0, "clip": 0, "step": number, "frame": number, "time_s": number / 25}
            row |= {"box": [0.0, 0.0, 9.0, 9.0], "landmarks": [0.0] * 10, "score": 1.0, "detected": True}
            rows.append(row | {"square": [0, 0, 9], "jpeg": (crops.tell(), crops.write(jpeg))})
        empty = VideoFaces(SCHEMA.empty_table(), INFO, FaceSettings(), (0, 1, 2), source=SOURCE)
        write_rows(tmp_path / "faces", rows[::-1], crops, empty.with_metadata().schema)
    faces = read_faces(tmp_path / "faces")
    assert faces.jpegs(range(num)) == jpegs[::-1]
    assert faces.column("frame").tolist() == list(range(num))[::-1]
    assert [len(own) for own in faces.track_rows] == [num]
    assert np.array_equal(faces.boxes, np.tile([0, 0, 9, 9], (num, 1)))
    assert (faces.info, faces.settings, faces.sampled) == (INFO, FaceSettings(), (0, 1, 2))
    assert faces.source == SOURCE
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]
