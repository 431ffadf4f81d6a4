from collections.abc import Callable
from typing import Any

import albumentations
import numpy as np
import pytest
from torch.utils.data import DataLoader

from deepfake.config import build
from deepfake.data.augment import FrameNoise, Perturb, Sample, WindowTransform
from deepfake.data.crops import fit, fit_points, window_landmarks
from deepfake.data.dataset import Batch, StoredCrops, WindowDataset, WindowSampler
from deepfake.data.distortions import Distort
from deepfake.errors import UserError
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import crop_square
from deepfake.records import InputSpec, Window

Composed = Callable[..., Any]
NAMES = ("none", "standard", "perturb", "deeperforensics", "selfblend")


@pytest.fixture(params=NAMES)
def transform(request: pytest.FixtureRequest, composed: Composed) -> WindowTransform:
    return build(composed("train", f"augment={request.param}").augment)


def spec(size: int, margin: float = 1.3) -> InputSpec:
    return InputSpec(size=size, margin=margin, mean=(0, 0, 0), std=(1, 1, 1), window=2)


@pytest.mark.parametrize("square", [(100, 60, 160), (60, -30, 160), (50, 20, 320)])
@pytest.mark.parametrize("size", [64, 130, 200])
def test_a_point_of_the_full_frame_is_found_where_fit_shows_it(
    square: tuple[int, int, int], size: int
) -> None:
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[100:108, 130:138] = 255  # its middle lies at (134, 104)
    crop = fit(crop_square(frame, square, 160), spec(size), stored_margin=1.6)
    weight = crop[..., 0].astype(float)
    y, x = np.indices(weight.shape) + 0.5
    seen = [(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()]
    point = fit_points(
        np.array([[134, 104]]), np.array(square), spec(size), stored_margin=1.6, max_crop_px=160
    )
    np.testing.assert_allclose(point[0], seen, atol=0.05)


def test_points_are_mapped_exactly() -> None:
    # 320 px stored as 160, of which 15 … 145 are seen (1.3 of 1.6), as 65
    square = np.array([50, 20, 320])
    corners = np.array([[50 + 30, 20 + 30], [50 + 290, 20 + 290]])
    found = fit_points(corners, square, spec(65), stored_margin=1.6, max_crop_px=160)
    assert found.tolist() == [[0, 0], [65, 65]]


def test_the_same_seed_gives_the_same_window_whatever_came_before(
    transform: WindowTransform, moving: Sample
) -> None:
    first = [transform(moving, seed) for seed in range(6)]
    again = [transform(moving, seed) for seed in reversed(range(6))][::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        assert one.label == other.label


def test_shape_and_type_stay_and_the_window_itself_is_not_written_to(
    transform: WindowTransform, moving: Sample
) -> None:
    before = moving.frames.copy()
    for seed in range(6):
        for num_frames in (1, 4):
            short = moving._replace(
                frames=moving.frames[:num_frames], landmarks=moving.landmarks[:num_frames]
            )
            frames = transform(short, seed).frames
            assert (frames.shape, frames.dtype) == (short.frames.shape, np.uint8)
    np.testing.assert_array_equal(moving.frames, before)


@pytest.mark.parametrize("name", ["standard", "selfblend"])
def test_frames_that_were_identical_stay_identical(name: str, composed: Composed, still: Sample) -> None:
    transform = build(composed("train", f"augment={name}").augment)
    for seed in range(20):
        frames = transform(still, seed).frames
        assert (frames == frames[:1]).all()


def test_stored_landmarks_come_in_pixels_of_the_crops(stored: FaceStore, moving: Sample) -> None:
    landmarks = window_landmarks(stored.read("a"), (3, 0, 0), spec(112, margin=1.6))
    assert landmarks.dtype == np.float32
    np.testing.assert_allclose(landmarks, moving.landmarks[[3, 0, 0]] / 2, atol=1e-4)


def test_any_number_of_workers_gives_the_same_batches(transform: WindowTransform, stored: FaceStore) -> None:
    windows = [Window(0, 0, start, (start, start + 1), seed) for seed in range(4) for start in (0, 2)]

    def batches(num_workers: int) -> list[Batch]:
        dataset = WindowDataset(StoredCrops(store=stored, keys=["a"], labels=[0], spec=spec(64)), transform)
        sampler = WindowSampler(lambda _: windows)
        return list(DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=num_workers))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(bool((a == b).all()) for a, b in zip(one, other, strict=True))


# Transforms that change a share of the windows.


MAKERS: list[Callable[[float], WindowTransform]] = [
    lambda rate: Perturb({"gamma": albumentations.RandomGamma((60, 70), p=1)}, rate=rate),
    lambda rate: Distort(rate=rate, names=["colour_contrast"]),
]


def num_changed(transform: WindowTransform, sample: Sample, seeds: range) -> int:
    """Windows with any other byte."""
    return sum(not np.array_equal(transform(sample, seed).frames, sample.frames) for seed in seeds)


@pytest.mark.parametrize("make", MAKERS)
def test_rate_is_the_share_of_windows_that_are_changed(
    make: Callable[[float], WindowTransform], still: Sample
) -> None:
    small = still._replace(frames=still.frames[:1, :32, :32])
    assert num_changed(make(0), small, range(100)) == 0
    assert num_changed(make(1), small, range(100)) == 100
    seeds = range(2000)
    drawn = sum(np.random.default_rng(seed).random() < 0.3 for seed in seeds)
    assert num_changed(make(0.3), small, seeds) == drawn
    assert abs(drawn - 600) < 3 * np.sqrt(2000 * 0.3 * 0.7)


@pytest.mark.parametrize("make", MAKERS)
def test_a_rate_beyond_1_is_an_error(make: Callable[[float], WindowTransform]) -> None:
    with pytest.raises(UserError, match=r"augment.rate=1.5"):
        make(1.5)


def test_each_change_of_the_config_is_used_and_up_to_three_at_once(composed: Composed, still: Sample) -> None:
    transform = build(composed("train", "augment=perturb", "augment.rate=1").augment)
    small = still._replace(frames=still.frames[:1, :32, :32])
    notes = [transform(small, seed).note.split(", ") for seed in range(60)]
    assert {len(note) for note in notes} == {1, 2, 3}
    assert all(len(set(note)) == len(note) for note in notes)
    names = {name for note in notes for name in note}
    assert names == {"jpeg", "noise", "blur", "brightness", "colour", "gamma"}


def test_all_but_noise_falls_on_frames_alike(composed: Composed, still: Sample) -> None:
    transform = build(composed("train", "augment=perturb", "augment.rate=1").augment)
    for seed in range(30):
        changed = transform(still, seed)
        assert bool((changed.frames == changed.frames[:1]).all()) == ("noise" not in changed.note)


def test_noise_has_the_strength_asked_for_and_is_new_in_each_frame() -> None:
    grey = np.full((3, 128, 128, 3), 128, np.uint8)
    noise = albumentations.Compose([FrameNoise((0.04, 0.04), p=1)], seed=1)
    change = noise(images=grey)["images"].astype(float) - 128
    assert np.std(change) == pytest.approx(0.04 * 255, rel=0.02)
    assert abs(np.corrcoef(change[0].ravel(), change[1].ravel())[0, 1]) < 0.02
