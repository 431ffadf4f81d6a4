"""Which files reading a video opens, watched by the kernel: only the video itself."""

import ctypes
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from films import film, number_of

from deepfake.errors import DecodeError
from deepfake.video.decode import decord_frames, read_clips, read_image
from deepfake.video.probe import scan

IN_OPEN, IN_NONBLOCK = 0x20, 0o4000


class OpenedFiles:
    """Names of the files of a folder that any process has opened since (inotify)."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.queue = libc.inotify_init1(IN_NONBLOCK)
        if libc.inotify_add_watch(self.queue, os.fsencode(folder), IN_OPEN) < 0:
            pytest.skip("inotify is not available")

    def names(self) -> set[str]:
        try:
            events = os.read(self.queue, 1 << 16)
        except BlockingIOError:
            return set()
        names, place = set(), 0
        while place < len(events):
            *_, length = struct.unpack_from("iIII", events, place)
            names.add(events[place + 16 : place + 16 + length].rstrip(b"\0").decode())
            place += 16 + length
        return names


PLAYLISTS: dict[str, Callable[[str], str]] = {
    "hls": lambda target: f"#EXTM3U\n#EXT-X-TARGETDURATION:100\n#EXTINF:100,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": lambda target: f"ffconcat version 1.0\nfile {target}\n",
    "sdp": lambda target: (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
    ),
    "dash": lambda target: f'<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>\n',
    "pls": lambda target: f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    "xspf": lambda target: (
        f"<playlist><trackList><track><location>{target}</location></track></trackList></playlist>"
    ),
}
PREFIXES = {
    "plain": b"",
    "bom": b"\xef\xbb\xbf",
    "space": b" \r\n\t",
    "id3": b"ID3\x04\0\0\0\0\x02\x05" + bytes(2 * 128 + 5),
}
STREAMS = {
    "x.mpg": ("h264", "libx264"),
    "x.mp4": ("m4v", "mpeg4"),
    "x.ts": ("mpegts", "libx264"),
    "x.avi": ("avi", "mpeg4"),
}


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("streams")
    return {
        name: film(folder / name, codec, container=container, num_frames=10).read_bytes()
        for name, (container, codec) in STREAMS.items()
    }


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_playlist_before_a_video_opens_no_other_file(
    tmp_path: Path, streams: dict[str, bytes], name: str, kind: str, absolute: bool
) -> None:
    folder = tmp_path / "targets"
    folder.mkdir()
    target = film(folder / "canary.ts", num_frames=10)
    path = tmp_path / name
    opened = OpenedFiles(folder)
    playlist = PLAYLISTS[kind](str(target) if absolute else "targets/canary.ts").encode()
    for prefix in PREFIXES.values():
        path.write_bytes(prefix + playlist + streams[name])
        with pytest.raises(DecodeError, match=str(path)):
            list(read_clips(path, [np.arange(2)]))
        with pytest.raises(DecodeError, match=str(path)):
            read_image(path)
    assert opened.names() == set()


@pytest.mark.parametrize(
    ("container", "codec"),
    [("h264", "libx264"), ("m4v", "mpeg4"), ("mpegts", "libx264"), ("vob", "mpeg2video")],
)
def test_decord_is_given_no_file_without_a_signature(tmp_path: Path, container: str, codec: str) -> None:
    path = film(tmp_path / "film.mpg", codec, container=container)
    with pytest.raises(ValueError, match="decord"):
        next(decord_frames(path, np.array([0]), scan(path)))
    (clip,) = read_clips(path, [np.array([0, 5])])
    assert [number_of(rgb) for rgb in clip.rgb] == [0, 5]


@pytest.mark.parametrize("name", ["x%03d.png", "x*.jpg"])
def test_a_name_that_is_a_pattern_opens_no_other_file(tmp_path: Path, name: str) -> None:
    scanned = scan(film(tmp_path / "x001.png", "mpeg4", container="avi", first=100))
    path = film(tmp_path / name, "mpeg4", container="avi")
    opened = OpenedFiles(tmp_path)
    with suppress(DecodeError):  # PyAV takes the first name for a pattern, and refuses it
        list(read_clips(path, [np.array([0, 5])]))
    frames = list(decord_frames(path, np.array([0, 5]), scanned))
    assert [number_of(rgb) for rgb in frames] == [0, 5]
    assert opened.names() == {path.name}


def test_file_names_do_not_reach_the_terminal_through_the_log_of_decord(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a\x1b]0;title\x07.avi", "b\x1b[31m.avi", "c\u202e.avi"):
        path = film(tmp_path / name, "mpeg4", container="avi")
        scanned = scan(path)
        path.write_bytes(path.read_bytes()[:200] + bytes(500))
        with suppress(Exception):  # it is the log that matters
            list(decord_frames(path, np.array([0]), scanned))
        with pytest.raises(DecodeError):
            list(read_clips(path, [np.array([0])], scanned=scanned))
    shown = "".join(capfd.readouterr())
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "title" not in shown
