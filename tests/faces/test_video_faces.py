import numpy as np
import pytest

from deepfake.faces.video_faces import crop_square, decode_jpeg, encode_jpeg, smooth, square_around


def test_smoothing_leaves_steady_motion_and_the_ends_alone() -> None:
    boxes = np.arange(8, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    assert np.array_equal(smooth(boxes, np.arange(8), 5), boxes)


def test_smoothing_averages_jitter_over_its_length() -> None:
    boxes = np.tile(np.array([[0.0], [3.0], [0.0]], np.float32), (1, 4))
    assert smooth(boxes, np.arange(3), 3)[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_a_square_is_centred_on_the_box_with_the_margin_of_its_longer_side() -> None:
    assert square_around(np.array([10.0, 20.0, 30.0, 60.0]), 1.5) == (-10, 10, 60)


def test_a_cut_inside_the_frame_copies_its_pixels() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert np.array_equal(crop_square(frame, (5, 3, 10), max_px=64), frame[3:13, 5:15])


def test_a_cut_over_the_edge_repeats_the_edge() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[0, 0] = 200
    crop = crop_square(frame, (-2, -2, 4), max_px=64)
    assert crop.shape == (4, 4, 3)
    assert (crop[:3, :3] == 200).all()
    assert (crop[3, 3] == 0).all()


def test_a_cut_is_reduced_to_the_cap_and_never_enlarged() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    assert crop_square(frame, (0, 0, 80), max_px=40).shape == (40, 40, 3)
    assert crop_square(frame, (0, 0, 20), max_px=40).shape == (20, 20, 3)


def test_a_square_outside_the_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside"):
        crop_square(np.zeros((10, 10, 3), np.uint8), (20, 20, 5), max_px=40)


def test_jpeg_keeps_colour_at_full_resolution() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    error = np.abs(decode_jpeg(encode_jpeg(stripes, 95)).astype(int) - stripes)
    assert error.max() < 60  # 4:2:0 would mix red and blue to purple, an error of 128
