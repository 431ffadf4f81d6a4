"""Frames are taken as players show them: in any of eight orientations, with square pixels."""

from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph
from films import film

from deepfake.video.decode import decord_is_exact, frame_size, read_clips, resized_yuv, rgb_region
from deepfake.video.probe import LimitReached, Limits, scan

ONE = 1 << 16
STRAIGHT = [(ONE * a, 0, 0, 0, ONE * d, 0, 0, 0, 1 << 30) for a, d in product((1, -1), repeat=2)]
TRANSPOSED = [(0, ONE * b, 0, ONE * c, 0, 0, 0, 0, 1 << 30) for b, c in product((1, -1), repeat=2)]
# as fftools/ffmpeg_filter.c inserts them for angle, sign of the first number and so on
FFMPEG_FILTERS = dict(
    zip(
        STRAIGHT + TRANSPOSED,
        (
            [],
            [("vflip", "")],
            [("hflip", "")],
            [("hflip", ""), ("vflip", "")],
            [("transpose", "cclock_flip")],
            [("transpose", "clock")],
            [("transpose", "cclock")],
            [("transpose", "clock_flip")],
        ),
        strict=True,
    )
)


def quarters(number: int) -> np.ndarray:
    """Four quarters of different colours, so that every orientation looks different, (96, 160, 3)."""
    small = np.array([[[200, 30, 30], [30, 200, 30]], [[30, 30, 200], [200, 200, 200]]], np.uint8)
    return small.repeat(48, 0).repeat(80, 1)


def by_ffmpeg(path: Path, filters: list[tuple[str, str]]) -> np.ndarray:
    """The first frame through FFmpeg's own filters."""
    with av.open(str(path)) as container:
        graph = Graph()
        stream = container.streams.video[0]
        nodes = [
            graph.add_buffer(template=stream),
            *(graph.add(*each) for each in filters),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        graph.push(next(container.decode(stream)))
        shown = graph.pull()
        assert isinstance(shown, av.VideoFrame)
        return shown.to_ndarray(format="rgb24")


@pytest.mark.parametrize("matrix", FFMPEG_FILTERS)
@pytest.mark.parametrize("name", ["film.mp4", "film.mov"])
def test_each_orientation_is_shown_as_ffmpeg_shows_it(
    tmp_path: Path, matrix: tuple[int, ...], name: str
) -> None:
    path = film(tmp_path / name, show=quarters, num_frames=5, display_matrix=matrix)
    expected = by_ffmpeg(path, FFMPEG_FILTERS[matrix])
    scanned = scan(path)
    assert (scanned.info.height, scanned.info.width) == expected.shape[:2]
    if matrix in STRAIGHT[1:3]:
        assert scanned.info.rotation_deg == 0
    assert decord_is_exact(scanned) is (matrix == STRAIGHT[0])
    for given in (scanned, replace(scanned, stamps=None)):
        (clip,) = read_clips(path, [np.array([0])], scanned=given)
        shown = clip.rgb[0]
        assert frame_size(clip.rgb, 0) == shown.shape[:2] == expected.shape[:2]
        assert np.abs(shown.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("sample_aspect", [Fraction(64, 45), Fraction(8, 9), Fraction(4, 3), Fraction(1, 2)])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts", "film.avi"])
@pytest.mark.parametrize("matrix", [None, TRANSPOSED[1]])
def test_pixels_that_are_not_square_are_made_square(
    tmp_path: Path, sample_aspect: Fraction, name: str, matrix: tuple[int, ...] | None
) -> None:
    if matrix and name != "film.mp4":
        pytest.skip("the container holds no display matrix")
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = film(
        tmp_path / name,
        codec,
        show=quarters,
        num_frames=5,
        sample_aspect=sample_aspect,
        display_matrix=matrix,
    )
    scanned = scan(path)
    width, height = scanned.info.width, scanned.info.height
    if matrix:
        width, height = height, width
    assert width / height == pytest.approx(160 / 96 * sample_aspect, rel=0.01)
    assert min(width - 160, height - 96) == 0  # one side is enlarged, no detail is lost
    assert not decord_is_exact(scanned)
    (clip,) = read_clips(path, [np.array([0, 3])])
    for step in range(2):
        rgb = clip.rgb[step]
        assert rgb.shape == (scanned.info.height, scanned.info.width, 3)
        assert frame_size(clip.rgb, step) == rgb.shape[:2]
        part = slice(10, 30), slice(20, 60)
        assert np.array_equal(rgb_region(clip.rgb, step, part), rgb[part])
        assert resized_yuv(clip.rgb, step, (32, 24), interpolation=1).shape == (24, 32, 3)


def test_the_limit_of_pixels_is_that_of_the_shown_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", num_frames=3, sample_aspect=Fraction(4, 1))
    assert scan(path, Limits(max_pixels=640 * 128)).info.width == 640
    with pytest.raises(LimitReached, match="max_pixels"):
        scan(path, Limits(max_pixels=640 * 128 - 1))


def test_a_matrix_of_zeros_changes_nothing(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", show=quarters, num_frames=3, display_matrix=(0,) * 9)
    (clip,) = read_clips(path, [np.array([0])])
    assert np.abs(clip.rgb[0].astype(int) - by_ffmpeg(path, [])).max() <= 3
