from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from deepfake.config import build
from deepfake.data.augment import Albumentations, Sample, WindowTransform
from deepfake.data.selfblend import (
    CANVAS,
    LANDMARKS,
    REGIONS,
    SelfBlend,
    blend,
    canvas_to_faces,
    draw_mask,
    on_canvas,
    self_blend,
    small_affine,
    warp,
)
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL


class Inverted(WindowTransform):
    """A restyle that nobody overlooks."""

    def __call__(self, sample: Sample, seed: int) -> Sample:
        return sample._replace(frames=255 - sample.frames)


def self_blending(prob: float, *, reals_only: bool = False, **arguments: Any) -> SelfBlend:
    return SelfBlend(restyle=Inverted(), then=Albumentations(), prob=prob, reals_only=reals_only, **arguments)


def test_the_canvas_is_laid_onto_faces_exactly_where_their_landmarks_are(moving: Sample) -> None:
    corners = np.column_stack([on_canvas(LANDMARKS), np.ones(5)])
    found = np.stack([corners @ affine.T for affine in canvas_to_faces(moving.landmarks)])
    np.testing.assert_allclose(found, moving.landmarks, atol=1e-4)


def test_warping_counts_pixels_by_their_edges() -> None:
    image = np.zeros((4, 4), np.float32)
    image[1, 1] = 1
    twice = np.array([[2.0, 0, 0], [0, 2, 0]])  # the pixel from 1 to 2 comes to lie from 2 to 4
    out = warp(image, twice, 8)
    y, x = np.indices(out.shape) + 0.5
    assert (out * x).sum() / out.sum() == pytest.approx(3)
    assert (out * y).sum() / out.sum() == pytest.approx(3)
    np.testing.assert_array_equal(warp(image, np.eye(2, 3), 4), image)


@pytest.mark.parametrize("region", REGIONS)
def test_a_mask_is_soft_full_inside_and_empty_at_the_rim(region: str) -> None:
    for seed in range(20):
        mask = draw_mask(region, np.random.default_rng(seed))
        assert (mask.shape, mask.dtype) == ((CANVAS, CANVAS), np.float32)
        assert mask.min() == 0
        assert mask.max() == 1
        assert ((mask > 0) & (mask < 1)).any()
        rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert rim.max() == 0


def test_blending_leaves_every_pixel_outside_the_mask_as_it_was_and_takes_the_inner_one_within() -> None:
    rng = np.random.default_rng(0)
    outer, inner = rng.integers(0, 256, (2, 3, 32, 32, 3), np.uint8)
    mask = np.clip(rng.normal(0.5, 1, (3, 32, 32)), 0, 1).astype(np.float32)
    out = blend(outer, inner, mask)
    np.testing.assert_array_equal(out[mask == 0], outer[mask == 0])
    np.testing.assert_array_equal(out[mask == 1], inner[mask == 1])
    half = blend(np.full_like(outer, 10), np.full_like(inner, 20), np.full_like(mask, 0.5))
    assert (half == 15).all()


def centres(change: np.ndarray) -> np.ndarray:
    """Centre of what is not 0 in each picture of (T, H, W), (T, 2) x and y."""
    y, x = np.indices(change.shape[1:]) + 0.5
    return np.stack([[(c * x).sum() / c.sum(), (c * y).sum() / c.sum()] for c in change.astype(float)])


def test_the_mask_keeps_its_shape_over_a_window_and_follows_the_landmarks(moving: Sample) -> None:
    black = np.zeros_like(moving.frames)
    mask = draw_mask("features", np.random.default_rng(1))
    out = self_blend(black, black + 255, moving.landmarks, mask, np.random.default_rng(2))[..., 0]
    move = small_affine(224, np.random.default_rng(2))
    found, expected = centres(out), moving.landmarks.mean(axis=1) @ move[:, :2].T + move[:, 2]
    offset = found - expected
    size = np.sqrt(out.astype(float).sum(axis=(1, 2)))
    np.testing.assert_allclose(size / size[0], [1, 1.1, 1.2, 1.3], rtol=0.01)  # eyes 40, 44, 48, 52 px apart
    np.testing.assert_allclose(offset, offset[0] * np.array([[1], [1.1], [1.2], [1.3]]), atol=0.3)


def test_a_pseudo_fake_differs_from_its_outer_copy_only_around_the_face(still: Sample) -> None:
    rng = np.random.default_rng(0)
    mask = draw_mask("face", rng)
    out = self_blend(still.frames, 255 - still.frames, still.landmarks, mask, rng)
    hull = cv2.convexHull(still.landmarks[0].astype(np.int32))
    inside = cv2.fillConvexPoly(np.zeros((224, 224), np.uint8), hull, 1).astype(bool)
    changed = (out != still.frames).any(axis=(0, 3))
    assert changed[inside].mean() > 0.95
    assert not changed[:, :10].any()
    assert not changed[-10:].any()


def test_a_real_window_becomes_a_fake_with_the_probability_asked_for(still: Sample) -> None:
    small = Sample(still.frames[:1, :64, :64], still.landmarks[:1] / 3.5, REAL)
    assert {self_blending(1)(small, seed).label for seed in range(20)} == {FAKE}
    assert {self_blending(0)(small, seed).label for seed in range(20)} == {REAL}
    labels = [self_blending(0.5)(small, seed).label for seed in range(600)]
    assert abs(sum(labels) - 300) < 3 * np.sqrt(600 / 4)


def test_windows_that_stay_real_and_fakes_are_whole_copies_restyled_or_not(still: Sample) -> None:
    for label in (REAL, FAKE):
        outs = [self_blending(float(label))(still._replace(label=label), seed) for seed in range(40)]
        restyled = [np.array_equal(out.frames, 255 - still.frames) for out in outs]
        kept = [np.array_equal(out.frames, still.frames) for out in outs]
        assert [a + b for a, b in zip(restyled, kept, strict=True)] == [1] * 40
        assert 10 < sum(restyled) < 30
        assert {out.label for out in outs} == {label}


def test_a_pair_differs_by_the_blend_alone(still: Sample) -> None:
    blending = self_blending(0, reals_only=True)
    restyled = 0
    for pair in range(20):
        real, fake = blending(still, 2 * pair), blending(still, 2 * pair + 1)
        assert (real.label, fake.label) == (REAL, FAKE)
        differs = (real.frames != fake.frames).any(axis=(0, 3))
        assert 0.01 < differs.mean() < 0.9
        assert not differs[[0, -1]].any()
        assert not differs[:, [0, -1]].any()
        restyled += np.array_equal(real.frames, 255 - still.frames)
    assert 3 < restyled < 17  # nor does the restyling tell a real window


@pytest.mark.parametrize("choice", ["augment=selfblend", "experiment=demo_selfblend"])
def test_a_pair_whose_blend_cannot_be_seen_is_one_window_twice(
    composed: Callable[..., Any], moving: Sample, choice: str
) -> None:
    transform = build(composed("train", choice, "augment.ratios=[0.0]").augment)
    for seed in range(0, 20, 2):
        real, fake = transform(moving, seed), transform(moving, seed + 1)
        assert (real.label, fake.label) == (REAL, FAKE)
        np.testing.assert_array_equal(fake.frames, real.frames)


def test_the_config_makes_pairs_and_says_what_was_done(composed: Callable[..., Any], moving: Sample) -> None:
    transform = build(composed("train", "augment=selfblend").augment)
    assert transform.reals_only
    outs = [transform(moving, seed) for seed in range(60)]
    assert [out.label for out in outs] == [REAL, FAKE] * 30
    assert {out.note.split(" × ")[0] for out in outs if out.label} == set(REGIONS)
    assert {out.note for out in outs if not out.label} == {""}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"prob": 2}, "augment.prob=2"), ({"prob": 1, "regions": ["ear"]}, r"augment.regions=\['ear'\]")],
)
def test_an_impossible_prob_or_region_is_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        self_blending(**arguments)
