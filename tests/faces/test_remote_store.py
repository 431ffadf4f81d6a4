import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from deepfake.errors import Stopped, UserError
from deepfake.faces import remote_store
from deepfake.faces.remote_store import cache_folder, fetch, is_url, public
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces, to_table
from deepfake.io import file_lock
from deepfake.records import REAL, Video, VideoInfo

KEYS = ["real/a", "Deepfakes/c 23/b#1", "Deepfakes/c 23/d"]
INFO = VideoInfo(num_frames=8, fps=25, width=8, height=8, rotation_deg=0, codec="h264", container="mov")


def faces(sampled: int) -> VideoFaces:
    return VideoFaces(to_table([]), INFO, FaceSettings(), tuple(range(sampled)))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_store, "PAUSES_S", (0, 0))


@pytest.fixture
def store(tmp_path: Path) -> FaceStore:
    """A store of three videos; a fourth could not be read."""
    store = FaceStore(tmp_path / "store", FaceSettings())
    for number, key in enumerate(KEYS):
        store.write(key, faces(number))
    keys = [*KEYS, "real/broken"]
    videos = [Video(key=key, path=Path(key), corpus="x", label=REAL, method="real") for key in keys]
    store.write_manifest(videos, {"real/broken": "no video stream"})
    return store


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder to whoever brings the token, and to others a page that says no, with status 200."""

    asked: list[str]
    broken: bool

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        if type(self).broken:
            return self.send_error(503)
        if "token=right" in self.path:
            return super().do_GET()
        self.send_response(200)
        self.end_headers()
        return self.wfile.write(b"please log in") and None

    def do_HEAD(self) -> None:
        return self.send_error(503) if type(self).broken else super().do_HEAD()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(store: FaceStore) -> Iterator[tuple[str, type[Handler]]]:
    """The address of a web server with the store, and its handler."""
    handler = type("Fresh", (Handler,), {"asked": [], "broken": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(store.root)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", handler
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["file", "memory", "zip", "http"])
def url(request: pytest.FixtureRequest, store: FaceStore, tmp_path: Path) -> Iterator[str]:
    """The store's address on one file system and another."""
    match request.param:
        case "file":
            yield store.root.as_uri()
        case "memory":
            memory = fsspec.filesystem("memory")
            memory.put(str(store.root), "/deep/store", recursive=True)
            yield "memory://deep/store/"
            memory.rm("/deep", recursive=True)
        case "zip":
            archive = shutil.make_archive(str(tmp_path / "store"), "zip", store.root)
            yield f"zip://::file://{archive}"
        case "http":
            yield request.getfixturevalue("web")[0] + "?token=right"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys in the order they were downloaded."""
    keys: list[str] = []
    whole = remote_store.download

    def download(remote: remote_store.Remote, key: str, stamp: remote_store.Stamp, path: Path) -> None:
        keys.append(key)
        whole(remote, key, stamp, path)

    monkeypatch.setattr(remote_store, "download", download)
    return keys


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_the_videos_asked_for_are_copied_once(
    url: str, store: FaceStore, tmp_path: Path, downloads: list[str]
) -> None:
    cache = tmp_path / "cache"
    assert fetch(url, [*KEYS[:2], "real/broken"], cache) == {"real/broken": "no video stream"}
    assert files(cache) == ["faces/Deepfakes/c 23/b#1.arrow", "faces/real/a.arrow", "fetched.jsonl"]
    copy = FaceStore(cache, FaceSettings())
    assert [len(copy.read(key).sampled) for key in KEYS[:2]] == [0, 1]
    assert fetch(url, KEYS, cache) == {}
    assert sorted(downloads) == sorted(KEYS)
    for key in KEYS:
        assert copy.path_of(key).read_bytes() == store.path_of(key).read_bytes()


def test_a_video_that_changed_there_is_fetched_again(
    store: FaceStore, tmp_path: Path, downloads: list[str], web: tuple[str, type[Handler]]
) -> None:
    cache = tmp_path / "cache"
    for url in (store.root.as_uri(), web[0] + "?token=right"):
        fetch(url, KEYS, cache)
        downloads.clear()
        before = store.path_of(KEYS[1]).stat()
        store.write(KEYS[1], faces(1))  # the same size

        os.utime(store.path_of(KEYS[1]), ns=(0, before.st_mtime_ns + 2_000_000_000))
        fetch(url, KEYS, cache)
        assert downloads == [KEYS[1]]


def test_a_copy_that_was_deleted_is_fetched_again(
    store: FaceStore, tmp_path: Path, downloads: list[str]
) -> None:
    cache = tmp_path / "cache"
    fetch(store.root.as_uri(), KEYS, cache)
    (cache / "faces" / "real" / "a.arrow").unlink()
    downloads.clear()
    fetch(store.root.as_uri(), KEYS, cache)
    assert downloads == ["real/a"]


def test_what_broke_off_goes_on_and_shows_no_half_file(
    store: FaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[str]
) -> None:
    cache, memory = tmp_path / "cache", fsspec.filesystem("memory")
    memory.put(str(store.root), "/breaks", recursive=True)
    get_file = MemoryFileSystem.get_file
    seen: list[str] = []

    def breaks(fs: MemoryFileSystem, source: str, path: str) -> None:
        assert [name for name in files(cache) if name.endswith(".arrow")] == seen
        if "real" not in source:
            Path(path).write_bytes(b"ARROW1 half")
            raise ConnectionResetError("gone")
        get_file(fs, source, path)
        seen.append("faces/real/a.arrow")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "get_file", breaks)
        with pytest.raises(Stopped, match=r"after 1 of 3 videos \(ConnectionResetError: gone\); these"):
            fetch("memory://breaks", KEYS, cache)
    assert downloads[:4] == ["real/a", KEYS[1], KEYS[1], KEYS[1]]  # three attempts
    assert files(cache) == ["faces/real/a.arrow", "fetched.jsonl"]
    downloads.clear()
    (cache / "faces" / "real" / ".a.arrow.0123456789ab.deepfake-part").write_bytes(b"of a killed process")
    fetch("memory://breaks", KEYS, cache)
    assert downloads == KEYS[1:]
    assert len(files(cache)) == 4
    memory.rm("/breaks", recursive=True)


def test_a_torn_line_of_the_index_costs_no_more_than_its_video(
    store: FaceStore, tmp_path: Path, downloads: list[str]
) -> None:
    cache = tmp_path / "cache"
    fetch(store.root.as_uri(), KEYS, cache)
    index = cache / "fetched.jsonl"
    index.write_text(index.read_text()[:-9])
    downloads.clear()
    for _ in range(3):
        fetch(store.root.as_uri(), KEYS, cache)
    assert downloads == [KEYS[2]] * 2  # the first note of it ends the torn line


def test_videos_the_store_lacks_are_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks 2 of 4 videos \(first: real/x\); a remote store"):
        fetch(url, ["real/x", KEYS[0], "real/broken", "real/y"], tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_a_key_cannot_leave_the_cache(tmp_path: Path) -> None:
    for key in ("../../a", "real/../../faces2/a", "../faces2/a", "/etc/a"):
        with pytest.raises(UserError, match=re.escape(f"video {key!r}: not a key")):
            fetch("memory://x", [key], tmp_path)


def test_a_missing_package_or_host_or_scheme_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"data.store=s3://b/x: a package is missing here: Install s3fs"):
        fetch("s3://b/x", KEYS, tmp_path)
    with pytest.raises(UserError, match=r"data.store=nope://b: cannot be opened .*Protocol not known: nope"):
        fetch("nope://b", KEYS, tmp_path)
    with pytest.raises(UserError, match=r"=http://127.0.0.1:9/x: cannot be read \(ClientConnectorError"):
        fetch("http://127.0.0.1:9/x?signature=secret", KEYS, tmp_path)


def test_a_web_server_in_trouble_does_not_lack_videos(web: tuple[str, type[Handler]], tmp_path: Path) -> None:
    web[1].broken = True
    with pytest.raises(UserError, match=r"cannot be read .*503") as caught:
        fetch(web[0] + "?token=right", KEYS, tmp_path)
    assert "right" not in str(caught.value)


def test_a_page_that_says_no_is_not_taken_for_faces(web: tuple[str, type[Handler]], tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"broke off after 0 of 1 .*: what came for real/a, 13 bytes"):
        fetch(web[0], KEYS[:1], tmp_path)
    assert files(tmp_path / "faces") == []


def test_a_second_process_waits_and_finds_the_work_done(
    store: FaceStore, tmp_path: Path, downloads: list[str]
) -> None:
    cache, url = tmp_path / "cache", store.root.as_uri()
    with file_lock(cache / "fetched.jsonl"):
        waiting = threading.Thread(target=fetch, args=(url, KEYS, cache))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert downloads == []
    waiting.join(10)
    assert sorted(downloads) == sorted(KEYS)
    fetch(url, KEYS, cache)
    assert len(downloads) == 3


def test_urls_are_told_from_paths() -> None:
    urls = (
        "s3://b/x gs://b memory://a file:///a http://h/a sftp://u@h/x simplecache::s3://b hf://datasets/u/r"
    )
    assert [url for url in urls.split() if not is_url(url)] == []
    assert not any(is_url(path) for path in ("/a/b", "a/b", "C:\\a", "C://a", "a:b", "outputs/x://y", ""))


def test_the_cache_folder_is_readable_and_knows_no_secrets(tmp_path: Path) -> None:
    folder = cache_folder("sftp://me:secret@host/data/ffpp_c23/", tmp_path)
    assert folder == cache_folder("sftp://me:other@host/data/ffpp_c23", tmp_path)
    assert re.fullmatch("me_host_data_ffpp_c23-[0-9a-f]{10}", folder.name)
    assert cache_folder("s3://a/b_c", tmp_path) != cache_folder("s3://a_b/c", tmp_path)
    assert public("https://me:se@cret@host/a?signature=secret") == "https://me@host/a"
    assert public("s3://bucket/a") == "s3://bucket/a"
