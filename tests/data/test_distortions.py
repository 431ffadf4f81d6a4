from collections import Counter

import cv2
import numpy as np
import pytest

from deepfake.data.augment import Sample
from deepfake.data.distortions import (
    DEEPERFORENSICS,
    DISTORTIONS,
    LEVELS,
    ClipDistortion,
    Distort,
)
from deepfake.errors import UserError


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def distort(name: str, frames: np.ndarray, level: int, seed: int = 0) -> np.ndarray:
    return DISTORTIONS[name](frames, level, np.random.default_rng(seed))


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_level_is_worse_than_the_one_before(name: str, moving: Sample) -> None:
    quality = [psnr(distort(name, moving.frames, level), moving.frames) for level in LEVELS]
    assert quality == sorted(set(quality), reverse=True)


@pytest.mark.parametrize("name", DISTORTIONS)
@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (3, 63, 41, 3)])
def test_any_size_and_a_single_frame_keep_their_shape(name: str, shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = frames.copy()
    out = distort(name, frames, 3)
    assert (out.shape, out.dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_the_same_rng_gives_the_same_bytes(name: str, moving: Sample) -> None:
    np.testing.assert_array_equal(distort(name, moving.frames, 5), distort(name, moving.frames, 5))


@pytest.mark.parametrize(
    "name", sorted(set(DISTORTIONS) - {"block_wise", "gaussian_noise", "video_compression", "h264"})
)
def test_identical_frames_stay_identical(name: str, still: Sample) -> None:
    out = distort(name, still.frames, 4)
    assert (out == out[:1]).all()


@pytest.mark.parametrize("name", ["block_wise", "gaussian_noise"])
def test_noise_and_blocks_are_new_in_each_frame(name: str, still: Sample) -> None:
    out = distort(name, still.frames, 4)
    assert not np.array_equal(out[0], out[1])


def to_ycc(rgb: np.ndarray) -> np.ndarray:
    """Y, Cr, Cb of float pictures as OpenCV has them, brought to [16, 235] and [16, 240] of 255."""
    ycc = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2YCrCb)
    return (ycc * (219, 224, 224) + 16) / 255


def to_rgb(ycc: np.ndarray) -> np.ndarray:
    """Inverse of to_ycc."""
    return cv2.cvtColor(((ycc * 255 - 16) / (219, 224, 224)).astype(np.float32), cv2.COLOR_YCrCb2RGB)


@pytest.mark.parametrize(("level", "kept"), [(1, 0.4), (5, 0.0)])
def test_saturation_is_that_of_a_literal_conversion_to_luma_and_chroma(
    level: int, kept: float, moving: Sample
) -> None:
    ycc = to_ycc(moving.frames[0])
    ycc[..., 1:] = 0.5 + (ycc[..., 1:] - 0.5) * kept
    out = distort("colour_saturation", moving.frames[:1], level)[0]
    assert np.abs(out - to_rgb(ycc)).max() < 1.1  # values are cut off


@pytest.mark.parametrize(("level", "variance"), [(1, 0.001), (4, 0.01)])
def test_noise_is_as_strong_as_by_a_literal_conversion(level: int, variance: float) -> None:
    grey = np.full((1, 256, 256, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    ycc = to_ycc(grey[0]) / 255 + np.sqrt(variance) * rng.standard_normal((256, 256, 3))
    expected = np.clip(to_rgb(ycc * 255), 0, 255).reshape(-1, 3)
    found = DISTORTIONS["gaussian_noise"](grey, level, rng).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(np.cov(found.T), np.cov(expected.T), atol=0.02 * np.cov(expected.T).max())


@pytest.mark.parametrize(("side", "count"), [(256, 16), (224, 14), (512, 32)])
def test_blocks_are_as_many_as_the_authors_have_at_256_and_grow_with_the_side(side: int, count: int) -> None:
    out = distort("block_wise", np.zeros((20, side, side, 3), np.uint8), 1)
    covered = (out == 128).all(axis=3).sum(axis=(1, 2)) / 64
    assert covered.max() <= count
    assert covered.mean() > 0.9 * count  # some overlap


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"names": ["fog"]}, r"augment.names=\['fog'\]"), ({"levels": [0, 1]}, r"augment.levels=\[0, 1\]")],
)
def test_an_unknown_name_or_level_is_an_error(arguments: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Distort(**arguments)  # type: ignore[arg-type]


def test_names_and_levels_are_drawn_evenly_from_those_wanted(moving: Sample) -> None:
    transform = Distort(rate=1, names=["colour_contrast", "gaussian_blur"], levels=[2, 5])
    small = moving._replace(frames=moving.frames[:1, :16, :16])
    notes = Counter(transform(small, seed).note for seed in range(2000))
    names = [f"{name} {level}" for name in ("colour contrast", "gaussian blur") for level in (2, 5)]
    assert sorted(notes) == names
    assert all(abs(count - 500) < 3 * np.sqrt(2000 * 3 / 16) for count in notes.values())


def test_training_draws_the_seven_of_deeperforensics_alone() -> None:
    assert len(DEEPERFORENSICS) == 7
    assert Distort().names == list(DEEPERFORENSICS)
    assert set(DISTORTIONS) - set(DEEPERFORENSICS) == {"resize", "jpeg", "h264"}
    assert {len(distortion.values) for distortion in DISTORTIONS.values()} == {len(LEVELS)}
    assert DISTORTIONS["resize"].setting(3) == "37.5% of the side"


def test_a_clip_is_distorted_as_one_sequence_of_one_size() -> None:
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in (64, 66, 63)]
    out = ClipDistortion(name="h264", level=3)(crops, video="a", track=0, clip=0)
    same = np.stack([crop if len(crop) == 66 else cv2.resize(crop, (66, 66)) for crop in crops])
    np.testing.assert_array_equal(out, distort("h264", same, 3))


def test_what_is_random_of_a_clip_follows_from_its_key() -> None:
    crops = [np.full((64, 64, 3), 128, np.uint8)] * 2
    noise = ClipDistortion(name="gaussian_noise", level=3, seed=1)
    once = noise(crops, video="a", track=0, clip=1)
    np.testing.assert_array_equal(once, noise(crops, video="a", track=0, clip=1))
    others = [("b", 0, 1, 1), ("a", 1, 1, 1), ("a", 0, 2, 1), ("a", 0, 1, 2)]
    for video, track, clip, seed in others:
        other = ClipDistortion(name="gaussian_noise", level=3, seed=seed)
        assert not np.array_equal(once, other(crops, video=video, track=track, clip=clip))
