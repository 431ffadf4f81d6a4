from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from deepfake.errors import UserError
from deepfake.faces import extract_corpus as corpus_module
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import SourceFile, VideoFaces, to_table
from deepfake.parallel.pool import Executor
from deepfake.records import REAL, Video, VideoInfo

INFO = VideoInfo(num_frames=8, fps=25, width=8, height=8, rotation_deg=0, codec="h264", container="mov")
FACES = VideoFaces(to_table([]), INFO, FaceSettings(), (0, 1))


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    made = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(b"abc")
        made.append(Video(key=f"real/{name}", path=path, corpus="x", label=REAL, method="real"))
    return made


@pytest.fixture
def url(tmp_path: Path, videos: list[Video]) -> Any:
    """A store of both videos, elsewhere."""
    local = FaceStore(tmp_path / "local", FaceSettings())
    for video in videos:
        local.write(video.key, replace(FACES, source=SourceFile.of(video.path)))
    local.write_manifest(videos, {})
    files = MemoryFileSystem()
    files.put(str(tmp_path / "local"), "/bucket/store", recursive=True)
    yield "memory://bucket/store"
    files.rm("/bucket", recursive=True)


def test_a_store_that_lies_elsewhere_is_copied_and_never_extracted_into(
    tmp_path: Path, videos: list[Video], url: str
) -> None:
    store = FaceStore(tmp_path / "copies", FaceSettings(), urls={"": url})
    result = corpus_module.extract_corpus(store, videos, executor=Executor(num_workers=0))
    assert [row["sampled_frames"] for row in result.rows] == [2, 2]
    assert result.counts["videos"] == 0
    assert store.path_of("real/b").read_bytes() == (tmp_path / "local/faces/real/b.arrow").read_bytes()
    videos[1].path.write_bytes(b"another file")
    with pytest.raises(
        UserError, match=r"memory://bucket/store can only be read, .* real/b are not of .*b\.mp4"
    ):
        corpus_module.extract_corpus(store, videos)
    with pytest.raises(UserError, match=r"other settings .*margin: 1.6 != 2.0"):
        corpus_module.extract_corpus(replace(store, settings=FaceSettings(margin=2.0)), videos[:1])


def test_parts_lie_where_each_of_them_says(tmp_path: Path, videos: list[Video], url: str) -> None:
    parts = {"far": tmp_path / "copies", "near": tmp_path / "near"}
    store = FaceStore(tmp_path / "joint", FaceSettings(), parts, {"far": url})
    assert store.path_of("far/real/a") == tmp_path / "copies/faces/real/a.arrow"
    assert store.path_of("real/a") == tmp_path / "joint/faces/real/a.arrow"
    assert [store.url_of(key) for key in ("far/real/a", "near/real/a", "real/a")] == [url, None, None]
    assert store.own_folders == [tmp_path / "joint", tmp_path / "near"]
    assert store.fetch(["near/real/a", "far/real/a"]) == {}
    assert store.path_of("far/real/a").exists()
    assert not store.path_of("far/real/b").exists()
