import errno
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from extracted import FakeExtraction

from deepfake.errors import Stopped, UserError
from deepfake.faces import extract_corpus as corpus_module
from deepfake.faces.extract import Extracted
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import SourceFile, VideoFaces, to_table
from deepfake.io import file_lock
from deepfake.records import REAL, Video, VideoInfo

ExtractCorpus = Callable[..., corpus_module.CorpusExtraction]
SETTINGS = FaceSettings()
INFO = VideoInfo(num_frames=8, fps=25, width=8, height=8, rotation_deg=0, codec="h264", container="mov")


@pytest.fixture
def extraction() -> FakeExtraction:
    """Extraction that finds no face."""
    return FakeExtraction(
        lambda path, settings: VideoFaces(to_table([]), INFO, settings, (0, 1), source=SourceFile.of(path))
    )


def videos(folder: Path, count: int) -> list[Video]:
    """Files of 1, 2, 3 … bytes, the largest first."""
    folder.mkdir(exist_ok=True)
    made = []
    for number in range(count):
        path = folder / f"v{number:02}.mp4"
        path.write_bytes(bytes(count - number))
        made.append(Video(key=path.stem, path=path, corpus="x", label=REAL, method="real"))
    return made


def files(store: FaceStore) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


def test_another_file_under_the_same_key_is_extracted_again(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    counts = []
    for root, content in (("first", b"abc"), ("moved", b"abc"), ("other", b"abcd"), ("other", b"abcd")):
        path = tmp_path / root / "a.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        extract_corpus(store, [Video(key="a", path=path, corpus="x", label=REAL, method="real")])
        counts.append(len(extracted))
    assert counts == [1, 1, 2, 2]
    assert caplog.text.count("1 videos in ") == 1
    assert "were other files when they were extracted" in caplog.text


@pytest.mark.parametrize("num_bytes", [200, 500_000, 3_000_000])
@pytest.mark.parametrize("keep_time", [True, False])
def test_a_file_of_the_same_name_and_size_is_another_one_if_its_content_is(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extraction: FakeExtraction,
    tmp_path: Path,
    *,
    num_bytes: int,
    keep_time: bool,
) -> None:
    counts = []

    def extract(root: str, content: bytes) -> None:
        path = tmp_path / root / "a.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        if keep_time:
            os.utime(path, (1e9, 1e9))
        extract_corpus(store, [Video(key="a", path=path, corpus="x", label=REAL, method="real")])
        counts.append(len(extraction.names))

    middle = num_bytes // 2 + 1
    extract("first", bytes(num_bytes))
    extract("second", bytes(middle) + b"x" + bytes(num_bytes - middle - 1))  # another root
    extract("second", b"y" * num_bytes)  # edited in place
    extract("third", b"y" * num_bytes)  # a copy
    extract("third", b"y" * num_bytes)  # written again
    assert counts == [1, 2, 3, 3, 3]


def test_an_edit_in_the_middle_of_a_large_file_is_noticed_by_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(bytes(3_000_000))
    os.utime(path, (1e9, 1e9))
    source = SourceFile.of(path)
    with path.open("r+b") as file:
        file.seek(700_000)
        file.write(b"x")
    assert not source.is_content_of(path)
    assert SourceFile.of(path).is_content_of(path)


def test_other_settings_are_refused_by_name_and_overwritten_only_where_they_differ(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
) -> None:
    films = videos(tmp_path / "films", 3)
    extract_corpus(store, films)
    other = replace(store, settings=replace(SETTINGS, margin=2.0))
    with pytest.raises(
        UserError, match=r"\(stored != wanted\): margin: 1.6 != 2.0\. .*faces\.overwrite=true"
    ):
        extract_corpus(other, films)
    assert extract_corpus(other, films[:1], overwrite=True).counts["videos"] == 1
    assert extract_corpus(other, films, overwrite=True).counts["videos"] == 2  # as after a kill
    assert extract_corpus(other, films).counts["videos"] == 0
    assert extracted == ["v00", "v01", "v02", "v00", "v01", "v02"]


def test_a_video_that_another_extraction_finishes_meanwhile_is_waited_for_and_not_done_twice(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    films = videos(tmp_path / "films", 3)
    theirs = films[1]

    source = SourceFile.of(theirs.path)

    def the_other_one() -> None:
        with file_lock(store.path_of(theirs.key)):
            ready.set()
            while len(extracted) < 2:
                time.sleep(0.01)
            time.sleep(0.2)
            store.write(theirs.key, VideoFaces(to_table([]), INFO, SETTINGS, (0, 1), source=source))

    ready = threading.Event()
    thread = threading.Thread(target=the_other_one)
    thread.start()
    ready.wait()
    with caplog.at_level(logging.INFO):
        result = extract_corpus(store, films)
    thread.join()
    assert extracted == ["v00", "v02"]
    assert (len(result.rows), result.counts["videos"]) == (3, 2)
    assert caplog.text.count("1 videos are with another extraction: waiting for it") == 1
    faces = [f"faces/v0{number}.arrow" for number in range(3)]
    assert files(store) == [*faces, "lost.csv", "manifest.parquet"]


def test_a_video_that_another_extraction_gives_up_is_done_here(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
) -> None:
    films = videos(tmp_path / "films", 2)
    theirs = file_lock(store.path_of("v00"))
    theirs.__enter__()
    extract_corpus(store, films, wait=lambda _: theirs.__exit__(None, None, None))
    assert extracted == ["v01", "v00"]


def test_a_store_that_cannot_be_written_is_one_error_before_any_work(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
) -> None:
    store.root.write_bytes(b"a file, not a folder")
    with pytest.raises(UserError, match=r"the face store .*store cannot be written: .*File exists"):
        extract_corpus(store, videos(tmp_path / "films", 2))
    assert extracted == []


def test_a_full_disk_stops_with_one_clear_message_and_keeps_what_is_done(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extraction: FakeExtraction,
    extracted: list[str],
    tmp_path: Path,
) -> None:
    films = videos(tmp_path / "films", 5)

    def full_after_two(*given: Any, **values: Any) -> Extracted:
        if len(extracted) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return extraction(*given, **values)

    with pytest.raises(Stopped, match=re.escape(f"{store.root} after 2 of 5 ")):
        extract_corpus(store, films, extract=full_after_two)
    assert files(store) == ["faces/v00.arrow", "faces/v01.arrow"]
    assert extract_corpus(store, films).counts["videos"] == 3


def test_the_estimate_comes_from_videos_of_all_sizes_and_warns_of_a_small_disk(  # noqa: PLR0917
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    films = videos(tmp_path / "films", 40)
    monkeypatch.setattr(corpus_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with caplog.at_level(logging.INFO):
        result = extract_corpus(store, films)
    size = store.path_of("v00").stat().st_size
    assert result.counts["bytes"] == 40 * size
    assert extracted[:8] == ["v37", "v32", "v27", "v22", "v17", "v12", "v07", "v02"]
    assert extracted[8:] == [v.key for v in films if v.key not in extracted[:8]]
    assert "from the first 8 of 40 videos, of all sizes: about 0:00:" in caplog.text
    assert f"{40 * size / 1000:.1f} kB, of {(10_000 + 8 * size) / 1000:.1f} kB free" in caplog.text
    assert "will be full before the end" in caplog.text
