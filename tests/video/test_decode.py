from pathlib import Path

import numpy as np
import pytest
from films import film, number_of

from deepfake.errors import DecodeError
from deepfake.video.decode import decord_can, decord_frames, pyav_frames, read_clips
from deepfake.video.probe import scan

CLIPS = [np.array([0, 1]), np.array([5, 6, 7]), np.array([20]), np.array([38, 39])]
FILMS = {
    "b_frames.mp4": ("libx264", {"bf": "3", "g": "250"}),
    "b_frames.avi": ("libx264", {"bf": "3", "g": "250"}),
    "short_gops.mkv": ("libx264", {"g": "5"}),
    "mpeg4.avi": ("mpeg4", {}),
    "vp9.webm": ("libvpx-vp9", {}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none"}),
    "av1.mkv": ("libsvtav1", {"preset": "10"}),
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


def test_both_readers_give_the_same_pixels(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", options={"bf": "3"})
    wanted = np.array([0, 3, 4, 30])
    for ours, theirs in zip(decord_frames(path, wanted, scan(path)), pyav_frames(path, wanted), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
def test_rotation_is_applied_by_both_readers_alike(tmp_path: Path, rotation_deg: int) -> None:
    path = film(tmp_path / "turned.mp4", rotation_deg=rotation_deg)
    one = np.array([9])
    (by_decord,), (by_pyav,) = decord_frames(path, one, scan(path)), pyav_frames(path, one)
    assert by_decord.shape == ((160, 128, 3) if rotation_deg % 180 else (128, 160, 3))
    assert np.abs(by_decord.astype(int) - by_pyav).max() <= 2
    upright = np.rot90(by_pyav, -round(scan(path).info.rotation_deg / 90))
    assert number_of(upright) == 9


def test_times_of_a_variable_frame_rate_are_those_of_the_file(tmp_path: Path) -> None:
    times_ms = (40 + np.cumsum(np.random.default_rng(0).integers(20, 120, 40))).tolist()
    for name in ("film.mp4", "film.mkv"):
        path = film(tmp_path / name, times_ms=times_ms)
        (clip,) = read_clips(path, [np.arange(40)])
        assert clip.time_s == pytest.approx((np.array(times_ms) - times_ms[0]) / 1000, abs=1e-3)


def test_decord_is_not_asked_for_what_it_reads_wrong(tmp_path: Path) -> None:
    assert decord_can(scan(film(tmp_path / "film.mp4")))
    assert decord_can(scan(film(tmp_path / "mpeg4.avi", "mpeg4")))
    assert not decord_can(scan(film(tmp_path / "h264.avi")))
    assert not decord_can(scan(film(tmp_path / "av1.mkv", "libsvtav1", options={"preset": "10"})))


def test_where_decord_breaks_pyav_goes_on_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film.mp4")

    def breaks_after_three(path: Path, wanted: np.ndarray, scanned: object) -> object:
        yield from pyav_frames(path, wanted[:3])
        raise RuntimeError("broken")

    monkeypatch.setattr("deepfake.video.decode.decord_frames", breaks_after_three)
    (clip,) = read_clips(path, [np.arange(0, 40, 4)])
    assert [number_of(rgb) for rgb in clip.rgb] == list(range(0, 40, 4))


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
        assert decord_can(scanned)
        for ours, theirs in zip(decord_frames(path, wanted, scanned), pyav_frames(path, wanted), strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 2
