from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from films import cut, film, number_of, picture
from PIL import Image

from deepfake.errors import DecodeError
from deepfake.video.decode import (
    KEY_FRAME_SEEKABLE,
    LazyFrames,
    decode_frames,
    decode_stream,
    decord_frames,
    decord_is_exact,
    key_frame_skips,
    pyav_frames,
    read_clips,
    read_image,
    rgb_region,
    to_rgb,
)
from deepfake.video.probe import Scan, open_video, scan

CLIPS = [np.array([0, 1]), np.array([5, 6, 7]), np.array([20]), np.array([38, 39])]
FILMS = {
    "b_frames.mp4": ("libx264", {"bf": "3", "g": "250"}),
    "b_frames.avi": ("libx264", {"bf": "3", "g": "250"}),
    "short_gops.mkv": ("libx264", {"g": "5"}),
    "mpeg4.avi": ("mpeg4", {}),
    "vp9.webm": ("libvpx-vp9", {}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none"}),
    "av1.mkv": ("libsvtav1", {"preset": "10"}),
    "open_groups.mp4": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "open_groups.mkv": ("libx265", {"x265-params": "log-level=none:keyint=12:min-keyint=12:open-gop=1"}),
    "intra_refresh.mp4": ("libx264", {"x264-params": "intra-refresh=1:keyint=12"}),
    "interlaced.mp4": ("libx264", {"bf": "3", "x264-params": "tff=1:b-pyramid=2"}),
    "temporal_direct.mp4": ("libx264", {"bf": "3", "x264-params": "direct=temporal:weightb=1:ref=5"}),
    "b_frames.ts": ("libx264", {"g": "12", "bf": "3"}),
    "b_frames.flv": ("libx264", {"g": "12", "bf": "3"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg4_b_frames.mp4": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4_b_frames.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "film.wmv": ("wmv2", {"g": "12"}),
    "vp9_short_groups.mkv": ("libvpx-vp9", {"g": "12", "deadline": "realtime"}),
    "refresh.mkv": ("libx264", {"x264-params": "intra-refresh=1:keyint=12"}),
    "refresh.ts": ("libx264", {"bf": "2", "x264-params": "intra-refresh=1:keyint=12"}),
    "hevc_short_groups.mkv": ("libx265", {"x265-params": "log-level=none:keyint=8:min-keyint=8:bframes=3"}),
    "hevc_refresh.mp4": ("libx265", {"x265-params": "log-level=none:intra-refresh=1:keyint=12"}),
}


@pytest.mark.parametrize("name", FILMS)
def test_clips_hold_exactly_the_frames_and_times_asked_for(tmp_path: Path, name: str) -> None:
    codec, options = FILMS[name]
    path = film(tmp_path / name, codec, options=options)
    clips = list(read_clips(path, CLIPS))
    assert [clip.index.tolist() for clip in clips] == [clip.tolist() for clip in CLIPS]
    assert [number_of(rgb) for clip in clips for rgb in clip.rgb] == np.concatenate(CLIPS).tolist()
    for clip in clips:
        assert clip.time_s == pytest.approx(clip.index / 25, abs=1.1e-3)  # mkv and webm count whole ms


@pytest.mark.parametrize("name", FILMS)
def test_frames_left_out_change_no_pixel_of_those_that_are_read(tmp_path: Path, name: str) -> None:
    codec, options = FILMS[name]
    path = film(tmp_path / name, codec, options=options)
    (every,) = read_clips(path, [np.arange(40)])
    for wanted in ([39], [3, 17], list(range(1, 40, 5))):
        (some,) = read_clips(path, [np.array(wanted)])
        assert np.array_equal(some.rgb, [every.rgb[index] for index in wanted])


def drifting(number: int) -> np.ndarray:
    """A textured picture that moves, so that frames lean on each other."""
    wide = np.random.default_rng(0).integers(0, 256, (32, 72, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    return np.ascontiguousarray(wide[:, 2 * number : 2 * number + 160])


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("show", [picture, drifting])
def test_a_leap_to_a_key_frame_changes_no_pixel(
    tmp_path: Path, name: str, show: Callable[[int], np.ndarray]
) -> None:
    codec, options = FILMS[name]
    path = film(tmp_path / name, codec, options=options, show=show, num_frames=48)
    scanned = scan(path)
    if scanned.stamps is None or scanned.info.codec not in KEY_FRAME_SEEKABLE:
        pytest.skip("read in order")
    every = list(map(to_rgb, pyav_frames(path, np.arange(48), scanned)))
    for wanted in ([47], [0, 30], [11, 12, 13, 36], [5, 23, 25, 40], list(range(3, 48, 7))):
        some = list(map(to_rgb, decode_frames(path, np.array(wanted), scanned)))
        assert np.array_equal(some, [every[index] for index in wanted])


def test_groups_without_a_wanted_frame_are_not_decoded(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", options={"bf": "0", "g": "10", "sc_threshold": "0"})
    scanned, wanted = scan(path), np.array([2, 3, 31])
    assert scanned.keys.tolist() == [0, 10, 20, 30]
    container, stream = open_video(path)
    with container:
        seen = [
            f.pts for f in decode_stream(container, stream, wanted, scanned, key_frame_skips(wanted, scanned))
        ]
    assert scanned.stamps is not None
    assert {scanned.stamps.tolist().index(pts) for pts in seen} <= {0, 1, 2, 3, 4, *range(30, 40)}
    assert set(scanned.stamps[wanted]) <= set(seen)


def test_frames_that_nothing_leans_on_are_not_decoded(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", options={"bf": "3", "g": "250"})
    container, stream = open_video(path)
    with container:
        times = [frame.pts for frame in decode_stream(container, stream, np.array([10, 39]), scan(path), {})]
    stamps = scan(path).stamps
    assert stamps is not None
    assert set(stamps[[10, 39]]) <= set(times) < set(stamps)
    assert len(times) <= 30


def test_both_readers_give_the_same_pixels(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", options={"bf": "3"})
    wanted = np.array([0, 3, 4, 30])
    for ours, theirs in zip(
        decord_frames(path, wanted, scan(path)),
        map(to_rgb, pyav_frames(path, wanted, scan(path))),
        strict=True,
    ):
        assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("colours", ["jpeg", "bt709", "bt2020"])
@pytest.mark.parametrize("name", ["yuv444p", "yuvj444p", "yuv420p", "yuv422p", "gray"])
def test_a_part_of_a_frame_has_the_pixels_of_the_whole(name: str, colours: str) -> None:
    random = np.random.default_rng(0)
    frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (90, 122, 3), np.uint8), "rgb24").reformat(
        format=name
    )
    frame.color_range = ColorRange.JPEG if colours == "jpeg" else ColorRange.MPEG
    frame.colorspace = {"jpeg": 5, "bt709": 1, "bt2020": 9}[colours]  # as FFmpeg numbers them
    shown = LazyFrames([frame])
    for _ in range(20):
        y0, x0 = random.integers(0, (89, 121)).tolist()
        part = slice(y0, int(random.integers(y0 + 1, 91))), slice(x0, int(random.integers(x0 + 1, 123)))
        assert np.array_equal(rgb_region(shown, 0, part), shown[0][part])
        assert np.array_equal(rgb_region([shown[0]], 0, part), shown[0][part])


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
def test_rotation_is_applied_by_both_readers_alike(tmp_path: Path, rotation_deg: int) -> None:
    path = film(tmp_path / "turned.mp4", rotation_deg=rotation_deg)
    one = np.array([9])
    (by_decord,) = decord_frames(path, one, scan(path))
    (by_pyav,) = map(to_rgb, pyav_frames(path, one, scan(path)))
    assert by_decord.shape == ((160, 128, 3) if rotation_deg % 180 else (128, 160, 3))
    assert np.abs(by_decord.astype(int) - by_pyav).max() <= 2
    upright = np.rot90(by_pyav, -round(scan(path).info.rotation_deg / 90))
    assert number_of(upright) == 9


@pytest.mark.parametrize("name", ["turned.mp4", "turned.mkv"])
def test_a_film_on_its_head_is_shown_upright_in_any_container(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, rotation_deg=180)
    (clip,) = read_clips(path, [np.array([9])])
    assert number_of(clip.rgb[0][::-1, ::-1]) == 9


def test_a_film_cut_inside_an_open_group_starts_with_the_first_frame_that_decodes(tmp_path: Path) -> None:
    options = {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}
    path = cut(film(tmp_path / "whole.mp4", num_frames=60, options=options), tmp_path / "cut.mkv", 1.0)
    (whole,) = read_clips(path, [np.arange(scan(path).info.num_frames)])
    assert [number_of(rgb) for rgb in whole.rgb] == list(range(24, 60))
    (clip,) = read_clips(path, [np.array([0, 20, 35])])
    assert [number_of(rgb) for rgb in clip.rgb] == [24, 44, 59]


def test_a_frame_the_decoder_loses_is_an_error_and_no_shift(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    scanned = scan(path)
    assert scanned.stamps is not None
    one_more = replace(scanned, stamps=np.insert(scanned.stamps, 6, scanned.stamps[5] + 1))
    assert [number_of(to_rgb(frame)) for frame in pyav_frames(path, np.array([5, 7]), one_more)] == [5, 6]
    with pytest.raises(ValueError, match="lost"):
        list(pyav_frames(path, np.array([6]), one_more))


def test_a_film_that_changes_its_size_names_the_first_frame_of_the_other_size(tmp_path: Path) -> None:
    path = film(tmp_path / "film.ts", num_frames=20)
    path.write_bytes(
        path.read_bytes() + film(tmp_path / "small.ts", num_frames=20, first=20, shrink=2).read_bytes()
    )
    with pytest.raises(DecodeError, match=r"frame 20 of 40 \(it is 80x64, the video 160x128\)"):
        list(read_clips(path, [np.arange(40)]))


def test_no_clips_are_no_frames(tmp_path: Path) -> None:
    assert list(read_clips(film(tmp_path / "film.mp4"), [])) == []


def test_times_of_a_variable_frame_rate_are_those_of_the_file(tmp_path: Path) -> None:
    times_ms = (40 + np.cumsum(np.random.default_rng(0).integers(20, 120, 40))).tolist()
    for name in ("film.mp4", "film.mkv"):
        path = film(tmp_path / name, times_ms=times_ms)
        (clip,) = read_clips(path, [np.arange(40)])
        assert clip.time_s == pytest.approx((np.array(times_ms) - times_ms[0]) / 1000, abs=1e-3)


def test_decord_is_not_asked_for_what_it_reads_wrong(tmp_path: Path) -> None:
    assert decord_is_exact(scan(film(tmp_path / "film.mp4")))
    assert decord_is_exact(scan(film(tmp_path / "mpeg4.avi", "mpeg4")))
    assert not decord_is_exact(scan(film(tmp_path / "b_frames.avi", "mpeg4", options={"bf": "2"})))
    assert not decord_is_exact(scan(film(tmp_path / "h264.avi")))
    assert not decord_is_exact(scan(film(tmp_path / "h264.ts")))
    assert not decord_is_exact(scan(film(tmp_path / "turned.mkv", rotation_deg=180)))
    assert not decord_is_exact(scan(film(tmp_path / "av1.mkv", "libsvtav1", options={"preset": "10"})))


def test_where_decord_breaks_pyav_goes_on_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film.avi", "mpeg4")  # without time stamps decord is asked first
    asked = []

    def breaks_after_three(path: Path, wanted: np.ndarray, scanned: Scan) -> object:
        asked.append(path)
        yield from pyav_frames(path, wanted[:3], scanned)
        raise RuntimeError("broken")

    monkeypatch.setattr("deepfake.video.decode.decord_frames", breaks_after_three)
    (clip,) = read_clips(path, [np.arange(0, 40, 4)])
    assert [number_of(rgb) for rgb in clip.rgb] == list(range(0, 40, 4))
    assert asked == [path]


def test_a_film_with_a_damaged_middle_names_itself_and_the_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", num_frames=200, options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = data.find(b"mdat") + 4 + (data.find(b"moov") - data.find(b"mdat")) // 3
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=r"film\.mp4: decoding broke at frame \d+ of 200"):
        list(read_clips(path, [np.arange(200)]))


@pytest.mark.parametrize("clips", [[[3, 4], [4, 5]], [[5], [2]], [[39, 40]], [[-1]]])
def test_clips_out_of_order_or_range_are_an_error(tmp_path: Path, clips: list[list[int]]) -> None:
    path = film(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="ascend within 0 … 39"):
        list(read_clips(path, [np.array(clip) for clip in clips]))


def test_real_videos_are_read_alike_by_both_readers(ffpp_videos: Path) -> None:
    for path in sorted(ffpp_videos.rglob("*.mp4")):
        scanned = scan(path)
        wanted = np.array([0, 50, 51, 200])
        assert decord_is_exact(scanned)
        for ours, theirs in zip(
            decord_frames(path, wanted, scanned), map(to_rgb, pyav_frames(path, wanted, scanned)), strict=True
        ):
            assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    frames = read_image(tmp_path / "image.png")
    assert np.array_equal(frames.rgb, pixels[None])
    assert (frames.index.tolist(), frames.time_s.tolist()) == ([0], [0.0])


def test_a_photo_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90 degrees
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.jpg", exif=exif)
    (rgb,) = read_image(tmp_path / "photo.jpg").rgb
    assert rgb.shape == (30, 20, 3)


def test_what_is_no_image_is_one_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"no image")
    with pytest.raises(DecodeError, match=r"image\.png: not a readable image"):
        read_image(tmp_path / "image.png")
