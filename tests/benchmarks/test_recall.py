from pathlib import Path

import numpy as np
import pytest

from benchmarks.baseline import baseline_detector
from benchmarks.extract import Recall, face_recall, unmatched
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces, to_table
from deepfake.records import REAL, Video, VideoInfo

INFO = VideoInfo(num_frames=9, fps=25, width=100, height=100, rotation_deg=0, codec="h264", container="mov")


def faces_at(*found: tuple[int, tuple[int, int, int, int]]) -> VideoFaces:
    """One row a (frame, box), each a track of its own."""
    rows = [
        {"track": track, "clip": 0, "step": frame, "frame": frame, "box": [float(x) for x in box]}
        for track, (frame, box) in enumerate(found)
    ]
    return VideoFaces(to_table(rows), INFO, FaceSettings(), tuple(range(9)))


def boxes(**corners: tuple[int, int, int, int]) -> dict[int, np.ndarray]:
    return {int(frame[1:]): np.array([box], np.float32) for frame, box in corners.items()}


def test_a_face_is_matched_by_any_stored_box_of_its_frame_that_overlaps_it_by_half() -> None:
    faces = faces_at((0, (50, 50, 90, 90)), (0, (0, 0, 10, 5)), (1, (0, 0, 10, 4)), (2, (0, 0, 10, 10)))
    main = boxes(f0=(0, 0, 10, 10), f1=(0, 0, 10, 10), f2=(0, 0, 10, 10), f3=(0, 0, 10, 10))
    # frame 0: IoU 0.5 with the second box; frame 1: 0.4; frame 3: nothing stored, though frame 2 would match
    assert unmatched(main, faces) == [1, 3]


def test_recall_is_the_share_of_the_baselines_faces_and_no_figure_without_any() -> None:
    recall = Recall()
    assert recall.share("x") == {}
    recall.add("a", boxes(f0=(0, 0, 10, 10), f1=(0, 0, 10, 10)), faces_at((0, (0, 0, 10, 10))))
    recall.add(
        "b", boxes(f0=(0, 0, 10, 10), f4=(0, 0, 10, 10)), faces_at((0, (0, 0, 10, 9)), (4, (0, 0, 10, 10)))
    )
    assert recall.missed == [("a", 1)]
    assert recall.share("x") == {"x": 0.75}


def test_the_main_face_is_the_largest_that_the_baseline_is_sure_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FaceStore(tmp_path, FaceSettings())
    store.write("a", faces_at((3, (0, 0, 10, 10))))
    animal, person = (50, 50, 90, 90), (0, 0, 10, 10)
    found = [(3, np.array([animal, person], np.float32), np.array([0.92, 0.99], np.float32))]
    monkeypatch.setattr("benchmarks.extract.detected", lambda *_: found)
    video = Video(key="a", path=tmp_path / "a.mp4", corpus="x", label=REAL, method="real")
    main, kept = face_recall(store, [video], baseline_detector("cpu"))
    assert (main.faces, main.missed) == (1, [])
    assert (kept.faces, kept.missed) == (1, [("a", 3)])


def test_a_video_without_any_stored_face_misses_all() -> None:
    assert unmatched(boxes(f0=(0, 0, 9, 9), f5=(0, 0, 9, 9)), faces_at()) == [0, 5]
