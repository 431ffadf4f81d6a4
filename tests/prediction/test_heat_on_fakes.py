"""Where the heat of a detector that has learned falls: on what was manipulated, more than beside it."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from deepfake.corpora.demo.canvas import UNIT_PX
from deepfake.corpora.demo.face import Person
from deepfake.corpora.demo.footage import (
    Footage,
    film_frame,
    random_footage,
    reenacted_frames,
    swapped_frames,
)
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4
from deepfake.prediction.explain import grad_cam, occlusion
from deepfake.records import InputSpec

SIZE = 128
TRAINED, TESTED, STEPS = 80, 16, 200


def crop(frame: np.ndarray, footage: Footage, index: int) -> np.ndarray:
    pose = footage.poses[index]
    zoom = SIZE / (1.3 * 2 * UNIT_PX * pose.scale)
    move = np.array([[zoom, 0, SIZE / 2 - pose.x_px * zoom], [0, zoom, SIZE / 2 - pose.y_px * zoom]])
    return cv2.warpAffine(frame, move, (SIZE, SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def pair(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A real crop, the fake made of it, and where they differ, (SIZE, SIZE) bool."""
    rng = np.random.default_rng(seed)
    footage = random_footage(rng, Person(rng, tone=rng.uniform()))
    real = film_frame(footage, 0)
    fakes: Iterator[np.ndarray] = (
        reenacted_frames(rng, footage, iter([real]))
        if seed % 2
        else swapped_frames(rng, footage, iter([real]), Person(rng, tone=rng.uniform()))
    )
    (fake,) = islice(fakes, 1)
    changed = (255 * (real != fake).any(-1)).astype(np.uint8)
    return crop(real, footage, 0), crop(fake, footage, 0), crop(changed, footage, 0) > 127


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, np.ndarray]:
    """Real and fake crops (N, 2, 1, 3, SIZE, SIZE) uint8, and what was changed, (N, SIZE, SIZE)."""
    drawn = [pair(seed) for seed in range(TESTED + TRAINED)]
    crops = np.array([[real, fake] for real, fake, _ in drawn]).transpose(0, 1, 4, 2, 3)[:, :, None]
    return torch.from_numpy(crops.copy()), np.array([changed for *_, changed in drawn])


@pytest.fixture(scope="module")
def learned(pairs: tuple[Tensor, np.ndarray]) -> Detector:
    """Meso-4 that tells most of these fakes."""
    crops = pairs[0][TESTED:]
    torch.manual_seed(0)
    spec = InputSpec(size=SIZE, margin=1.3, mean=(0.5,) * 3, std=(0.25,) * 3)
    backbone = Meso4(image_size=SIZE, dropout=0.0)
    detector = Detector(backbone, partial(LinearHead, dropout=0.1), spec, channels_last=True)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    draw = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = crops[torch.randint(len(crops), (16,), generator=draw)].flatten(0, 1)
        if torch.rand((), generator=draw) < 0.5:
            batch = batch.flip(-1)
        loss = binary_cross_entropy_with_logits(detector(batch), torch.tensor([0.0, 1.0]).repeat(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return detector.eval()


def inside_and_outside(heat: np.ndarray, changed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean heat (N,) on what was changed and beside it."""
    axes = (1, 2)
    return (
        (heat * changed).sum(axes) / changed.sum(axes),
        (heat * ~changed).sum(axes) / (~changed).sum(axes),
    )


def test_the_detector_has_learned(learned: Detector, pairs: tuple[Tensor, np.ndarray]) -> None:
    with torch.inference_mode():
        logits = learned(pairs[0][:TESTED].flatten(0, 1)).view(-1, 2)
    assert (logits[:, 1] > logits[:, 0]).float().mean() >= 0.9


def test_heat_falls_on_what_was_manipulated_and_covering_it_agrees(
    learned: Detector, pairs: tuple[Tensor, np.ndarray]
) -> None:
    fakes, changed = pairs[0][:TESTED, 1], pairs[1][:TESTED]
    heats = {"grad_cam": grad_cam(learned, fakes), "occlusion": occlusion(learned, fakes)}
    maps = {name: heat.numpy()[:, 0] for name, heat in heats.items()}
    sides = {name: inside_and_outside(heat, changed) for name, heat in maps.items()}
    for name, (inside, outside) in sides.items():
        assert inside.mean() > 1.5 * outside.mean(), name
    inside, outside = sides["grad_cam"]
    assert (inside > outside).mean() >= 0.75
    coarse = [[small(heat) for heat in heats] for heats in maps.values()]
    ranks = [spearmanr(one, other).statistic for one, other in zip(*coarse, strict=True)]
    assert np.nanmean(ranks) > 0


def small(heat: np.ndarray) -> np.ndarray:
    """A heat map in 16 × 16 places, (256,)."""
    return cv2.resize(heat, (16, 16), interpolation=cv2.INTER_AREA).ravel()
