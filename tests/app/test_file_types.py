from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake.app.uploads import HEAD_BYTES, Limits, check, suffix_of
from deepfake.errors import UserError
from deepfake.video.write import write_video

LIMITS = Limits(max_seconds=10, max_pixels=200 * 100)


def film(path: Path, *, frames: int = 8, width: int = 64, height: int = 48, **values: str) -> Path:
    write_video(path, [np.full((height, width, 3), 90, np.uint8)] * frames, fps=8, **values)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("container", "codec", "suffix"),
    [
        ("mp4", "libx264", ".mp4"),
        ("mov", "libx264", ".mp4"),
        ("matroska", "libx264", ".mkv"),
        ("webm", "libvpx-vp9", ".mkv"),
        ("avi", "mpeg4", ".avi"),
        ("flv", "libx264", ".flv"),
        ("mpegts", "libx264", ".ts"),
        ("mpeg", "mpeg2video", ".mpg"),
        ("asf", "mpeg4", ".wmv"),
    ],
)
def test_a_film_is_known_by_its_content_whatever_its_name(
    tmp_path: Path, container: str, codec: str, suffix: str
) -> None:
    # MPEG-2 has no rate of 8
    path = tmp_path / "letter.txt"
    write_video(path, [np.full((48, 64, 3), 90, np.uint8)] * 50, fps=25, container=container, codec=codec)
    assert suffix_of(path.read_bytes()[:HEAD_BYTES]) == suffix
    info = check(path.rename(tmp_path / f"upload{suffix}"), LIMITS)
    assert info.duration_s == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_a_picture_is_known_by_its_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"upload{suffix}"
    Image.new("RGB", (60, 40)).save(path)
    assert suffix_of(path.read_bytes()[:HEAD_BYTES]) == suffix
    info = check(path, LIMITS)
    assert (info.width, info.height, info.num_frames, info.duration_s) == (60, 40, 1, None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"This is a letter, and no film at all.",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"\x1b[31mred\x1b[0m" * 50,
        b"GIF89a",
        b"RIFF\x10\x00\x00\x00WAVEfmt ",
        b"G" * 100 + b"o" * 500,
    ],
)
def test_texts_playlists_and_sounds_are_no_films(text: bytes) -> None:
    assert suffix_of(text[:HEAD_BYTES]) is None


@pytest.mark.parametrize(
    "text",
    [b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", b"ffconcat version 1.0\nfile /etc/hostname\n"],
)
def test_a_playlist_is_not_followed_even_behind_a_films_name(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "upload.mp4"
    path.write_bytes(text)
    with pytest.raises(UserError, match=r"^not a readable video$"):
        check(path, LIMITS)


def test_the_limits_are_those_of_length_and_of_the_frame(tmp_path: Path) -> None:
    assert check(film(tmp_path / "a.mp4", frames=80), LIMITS).num_frames == 80
    with pytest.raises(UserError, match=r"^it is 11 s long, and this page takes up to 10 s \(max_seconds\)$"):
        check(film(tmp_path / "b.mp4", frames=88), LIMITS)
    assert check(film(tmp_path / "c.mp4", width=200, height=100), LIMITS).width == 200
    with pytest.raises(UserError, match="202 × 100 pixels, and this page takes up to 20,000"):
        check(film(tmp_path / "d.mp4", width=202, height=100), LIMITS)
    Image.new("RGB", (1000, 21)).save(tmp_path / "e.png")
    with pytest.raises(UserError, match="1000 × 21 pixels"):
        check(tmp_path / "e.png", LIMITS)


def test_broken_files_are_refused_without_their_path(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4").read_bytes()
    broken = {"upload.mp4": whole[: len(whole) // 3], "upload.png": b"\x89PNG\r\n\x1a\n" + bytes(600)}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="not a readable") as caught:
            check(tmp_path / name, LIMITS)
        assert str(tmp_path) not in str(caught.value)
