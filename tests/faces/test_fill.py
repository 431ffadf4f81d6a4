from pathlib import Path
from typing import Any

import pytest

from deepfake.faces import fill
from deepfake.faces.extract import to_table
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces
from deepfake.records import REAL, Video, VideoInfo

SETTINGS = FaceSettings()
INFO = VideoInfo(num_frames=8, fps=25, width=8, height=8, rotation_deg=0, codec="h264", container="mov")


def test_another_file_under_the_same_key_is_extracted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    extracted = []

    def faces_of(path: Path, *_: Any, **__: Any) -> VideoFaces:
        extracted.append(path.parent.name)
        return VideoFaces(to_table([]), INFO, SETTINGS, (0, 1), source_bytes=path.stat().st_size)

    monkeypatch.setattr(fill, "faces_of", faces_of)
    store = FaceStore(tmp_path / "store", SETTINGS)
    for root, content in (("first", b"abc"), ("moved", b"abc"), ("other", b"abcd"), ("other", b"abcd")):
        path = tmp_path / root / "a.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        fill.fill_store(store, [Video(key="a", path=path, corpus="x", label=REAL, method="real")])
    assert extracted == ["first", "other"]
    assert caplog.text.count("1 videos in ") == 1
    assert "were other files when they were extracted" in caplog.text


def test_a_file_of_an_older_store_does_not_say_its_size_and_is_kept(tmp_path: Path) -> None:
    store = FaceStore(tmp_path, SETTINGS)
    store.write("a", VideoFaces(to_table([]), INFO, SETTINGS, (0,)))
    assert store.has("a", tmp_path / "a.mp4")
    assert not store.has("b", tmp_path / "b.mp4")
