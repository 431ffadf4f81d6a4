from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake.errors import DecodeError
from deepfake.video.decode import read_image


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
