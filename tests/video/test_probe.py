import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from films import film, sound
from PIL import Image

from deepfake.errors import DecodeError, UserError
from deepfake.records import VideoInfo
from deepfake.video import decode
from deepfake.video.decode import read_image
from deepfake.video.probe import NO_LIMITS, LimitReached, Limits, probe, scan


def test_a_probe_says_length_rate_size_codec_and_container(tmp_path: Path) -> None:
    assert probe(film(tmp_path / "film.mp4")) == VideoInfo(
        num_frames=40,
        fps=25.0,
        width=160,
        height=128,
        rotation_deg=0,
        codec="h264",
        container="mov",
        duration_s=1.6,
    )
    assert probe(film(tmp_path / "film.mkv", "libsvtav1", options={"preset": "10"})).codec == "av1"


@pytest.mark.parametrize(("rotation_deg", "size"), [(90, (128, 160)), (180, (160, 128)), (270, (128, 160))])
def test_the_size_is_that_of_the_turned_picture(
    tmp_path: Path, rotation_deg: int, size: tuple[int, int]
) -> None:
    info = probe(film(tmp_path / "film.mp4", rotation_deg=rotation_deg))
    assert (info.width, info.height) == size
    assert info.rotation_deg % 180 == rotation_deg % 180


@pytest.mark.parametrize("name", ["film.mkv", "film.webm"])
def test_frames_are_counted_where_the_header_does_not_say(tmp_path: Path, name: str) -> None:
    assert probe(film(tmp_path / name, "libvpx-vp9", num_frames=33)).num_frames == 33


def test_times_start_at_zero_whatever_the_file_says(tmp_path: Path) -> None:
    times = scan(film(tmp_path / "film.mp4", num_frames=3, times_ms=[500, 540, 640])).time_s
    assert times == pytest.approx([0, 0.04, 0.14], abs=1e-3)


@pytest.mark.parametrize("content", [b"", b"no video", bytes(range(256)) * 40])
def test_what_is_no_video_is_one_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"film\.mp4: not a readable video"):
        probe(path)


def test_missing_files_folders_and_sound_alone_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.mp4", tmp_path, sound(tmp_path / "sound.mp4")):
        with pytest.raises(DecodeError, match="not a readable video"):
            probe(path)


def test_a_picture_on_the_cover_of_a_sound_file_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no video stream"):
        probe(sound(tmp_path / "song.mp3", "libmp3lame", cover=True))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("small") / "small.mp4", num_frames=10, sound="aac")


@pytest.mark.parametrize(
    ("name", "enough", "what"),
    [
        ("max_pixels", 160 * 128, "its frames have 160x128 pixels"),
        ("max_frames", 10, "its header tells of 10 frames"),
        ("max_seconds", 0.4, "it is 0 s long"),
        ("max_streams", 2, "it has 2 streams"),
    ],
)
def test_a_video_beyond_a_limit_is_refused_with_the_key(
    small: Path, name: str, enough: float, what: str
) -> None:
    assert probe(small, Limits(**{name: enough})).num_frames == 10
    less = enough * 0.99 if name == "max_seconds" else enough - 1
    with pytest.raises(LimitReached, match=re.escape(f"{small}: {what}, more than limits.{name}={less}")):
        probe(small, Limits(**{name: less}))


def test_frames_are_counted_where_the_header_does_not_tell(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", num_frames=10)
    assert probe(path, Limits(max_frames=10)).num_frames == 10
    with pytest.raises(LimitReached, match=r"it has 10 frames and more, more than limits\.max_frames=9"):
        probe(path, Limits(max_frames=9))


def test_size_and_kind_of_a_file_are_looked_at_before_it_is_opened(small: Path, tmp_path: Path) -> None:
    size = small.stat().st_size
    assert probe(small, Limits(max_bytes=size)).num_frames == 10
    with pytest.raises(LimitReached, match=rf"{size} bytes long, more than limits\.max_bytes={size - 1}"):
        probe(small, Limits(max_bytes=size - 1))
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dead.mp4").symlink_to("nowhere")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "empty.mp4").touch()
    for name, reason in {
        "pipe": "not a regular file",
        "device": "not a regular file",
        "dead": "a link to nothing",
        "loop": "Too many levels of symbolic links",
        "empty": "an empty file",
        "none": "no such file",
    }.items():
        path = tmp_path / f"{name}.mp4"
        for read in (scan, read_image):
            with pytest.raises(DecodeError, match=rf"^{path}: not a readable video or image \({reason}\)$"):
                read(path)  # type: ignore[operator]


def test_an_image_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((100, 50, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:60])  # a header, and hardly anything to decode
    with pytest.raises(LimitReached, match=r"it has 50x100 pixels, more than limits\.max_image_pixels=4999"):
        read_image(path, Limits(max_image_pixels=4999))
    with pytest.raises(DecodeError, match="not a readable image"):
        read_image(path, Limits(max_image_pixels=5000))


def test_frames_larger_than_the_header_tells_are_refused_by_the_decoder(small: Path) -> None:
    scanned = scan(small)
    told = scan(small, NO_LIMITS)
    assert (scanned.info, scanned.time_s.tolist()) == (told.info, told.time_s.tolist())
    with decode.open_video(small, NO_LIMITS)[0] as whole:
        assert len(list(whole.decode(video=0))) == 10
    container, stream = decode.open_video(small)
    with container:
        stream.codec_context.options = {"max_pixels": "20000"}  # as any limit is set
        with pytest.raises(Exception, match="Invalid"):
            next(container.decode(stream))
    limits = Limits(max_pixels=1_000_000)
    assert decode.open_video(small, limits)[1].codec_context.options == {"max_pixels": "1315536"}


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {film}\nfile {url}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet><Representation id="0"><BaseURL>{url}</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["mp4", "ts", "m3u8", "mpd", "txt"])
def test_a_playlist_opens_no_file_and_no_address(small: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        pipe = tmp_path / "pipe.ts"  # to open it would be to wait for ever
        os.mkfifo(pipe)
        path = tmp_path / f"list.{suffix}"
        path.write_text(PLAYLISTS[kind].format(url=f"http://127.0.0.1:{port}/a.ts", film=pipe, port=port))
        with pytest.raises(DecodeError, match=f"^{path}: not a readable video"):
            scan(path)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_name_that_looks_like_an_address_is_that_of_a_file(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4|b.mp4", "pipe:0", "http:x.mp4"):
        Path(name).write_bytes(small.read_bytes())
        assert probe(Path(name)).num_frames == 10


def test_sound_alone_is_told_as_before(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"not a readable video \(no video stream\)"):
        scan(sound(tmp_path / "sound.mp4"))


@pytest.mark.parametrize("value", [0, -1, "many"])
def test_a_limit_that_lets_nothing_through_is_named(value: object) -> None:
    with pytest.raises(UserError, match=rf"limits\.max_pixels={value}: a number above 0, or null"):
        Limits(max_pixels=value)  # type: ignore[arg-type]
