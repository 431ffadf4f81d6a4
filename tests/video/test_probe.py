from pathlib import Path

import pytest
from films import film, sound

from deepfake.errors import DecodeError
from deepfake.records import VideoInfo
from deepfake.video.probe import probe, scan


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
