"""Faces that are too many for memory lie in a file, and are the same."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.faces.extract import ROWS_AT_ONCE, Crops, gathered
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import SCHEMA, VideoFaces
from deepfake.records import VideoInfo

INFO = VideoInfo(
    num_frames=9,
    fps=25,
    width=20,
    height=20,
    rotation_deg=0,
    codec="h264",
    container="mov",
    duration_s=0.36,
)
EMPTY = VideoFaces(SCHEMA.empty_table(), INFO, FaceSettings(), (0, 1, 2), source_bytes=7)


def jpeg(number: int) -> bytes:
    return bytes([number % 256]) * (10 + number % 7)


def rows(num: int) -> list[dict[str, Any]]:
    """Rows whose crops came in another order."""
    return [
        {
            "track": 0,
            "clip": 0,
            "step": number,
            "frame": number,
            "time_s": number / 25,
            "box": [0.0, 0.0, 9.0, 9.0],
            "landmarks": [0.0] * 10,
            "score": 1.0,
            "detected": True,
            "square": [0, 0, 9],
            "jpeg": num - 1 - number,
        }
        for number in range(num)
    ]


def fill(crops: Crops, num: int) -> None:
    assert [crops.put(jpeg(number)) for number in range(num)] == list(range(num))


def test_crops_are_the_same_from_memory_and_from_the_file(tmp_path: Path) -> None:
    for folder, limit in (
        (None, 0),
        (tmp_path / "none", 10**6),
        (tmp_path / "some", 50),
        (tmp_path / "all", 0),
    ):
        with Crops(folder, max_bytes=limit) as crops:
            fill(crops, 20)
            assert [crops.get(number) for number in range(19, -1, -1)] == [jpeg(n) for n in range(19, -1, -1)]
            assert (crops.file is None) == (folder is None or limit == 10**6)
    assert not (tmp_path / "none").exists()
    assert list((tmp_path / "all").iterdir()) == []


def test_few_faces_stay_in_memory(tmp_path: Path) -> None:
    with Crops(tmp_path) as crops:
        fill(crops, 5)
        faces = gathered(rows(5), crops, EMPTY, tmp_path / "faces.arrow")
    assert faces.spilled is None
    assert faces.jpegs(range(5)) == [jpeg(number) for number in range(4, -1, -1)]
    assert not (tmp_path / "faces.arrow").exists()


@pytest.fixture
def spilled(tmp_path: Path) -> VideoFaces:
    num = 2 * ROWS_AT_ONCE + 3
    with Crops(tmp_path, max_bytes=100) as crops:
        fill(crops, num)
        return gathered(rows(num), crops, EMPTY, tmp_path / "faces.arrow")


def test_many_faces_are_read_from_their_file_as_if_they_were_in_memory(spilled: VideoFaces) -> None:
    num = 2 * ROWS_AT_ONCE + 3
    assert spilled.jpegs([0, num - 1, ROWS_AT_ONCE]) == [
        jpeg(n) for n in (num - 1, 0, num - 1 - ROWS_AT_ONCE)
    ]
    assert spilled.column("frame").tolist() == list(range(num))
    assert [len(own) for own in spilled.track_rows] == [num]
    assert np.array_equal(spilled.boxes, np.tile([0, 0, 9, 9], (num, 1)))
    assert (spilled.info, spilled.settings, spilled.sampled) == (INFO, FaceSettings(), (0, 1, 2))
    assert spilled.source_bytes == 7


def test_another_process_is_sent_the_name_of_the_file_only(spilled: VideoFaces) -> None:
    sent = pickle.dumps(spilled)
    assert len(sent) < 500
    assert pickle.loads(sent).table.equals(spilled.table)
    small = pickle.loads(pickle.dumps(EMPTY))
    assert small.table.equals(EMPTY.table)


def test_discarded_faces_leave_no_file(spilled: VideoFaces) -> None:
    assert spilled.spilled is not None
    assert spilled.spilled.exists()
    spilled.discard()
    assert not spilled.spilled.exists()
    EMPTY.discard()  # which has none
