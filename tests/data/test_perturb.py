from collections.abc import Callable
from typing import Any

import albumentations
import numpy as np
import pytest

from deepfake.config import build
from deepfake.data.augment import FrameNoise, Perturb, Sample, WindowTransform
from deepfake.data.distortions import Distort
from deepfake.errors import UserError

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


def test_each_change_of_the_config_is_used_and_up_to_three_at_once(
    composed: Callable[..., Any], still: Sample
) -> None:
    transform = build(composed("train", "augment=perturb", "augment.rate=1").augment)
    small = still._replace(frames=still.frames[:1, :32, :32])
    notes = [transform(small, seed).note.split(", ") for seed in range(60)]
    assert {len(note) for note in notes} == {1, 2, 3}
    assert all(len(set(note)) == len(note) for note in notes)
    names = {name for note in notes for name in note}
    assert names == {"jpeg", "noise", "blur", "brightness", "colour", "gamma"}


def test_all_but_noise_falls_on_frames_alike(composed: Callable[..., Any], still: Sample) -> None:
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
