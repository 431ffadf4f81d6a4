import math

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from deepfake.errors import UserError
from deepfake.training.optim import Schedule, constant, cosine, plateau


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(schedule: Schedule, num_steps: int, **options: float) -> list[float]:
    """The learning rate of every step."""
    sgd = optimizer()
    (scheduler,) = schedule(sgd, num_steps=num_steps, mode="min", **options)
    found = []
    for _ in range(num_steps):
        found.append(sgd.param_groups[0]["lr"])
        sgd.step()
        scheduler.step()
    return found


def test_a_cosine_falls_from_the_full_rate_to_nearly_zero() -> None:
    expected = [0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates(cosine, 8) == pytest.approx(expected)


def test_a_warm_up_rises_to_the_full_rate_in_its_share_of_the_steps() -> None:
    expected = [0.25, 0.5, 0.75, 1.0] + [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert rates(cosine, 10, warmup=0.4) == pytest.approx(expected)
    assert rates(constant, 5, warmup=0.4) == pytest.approx([0.5, 1, 1, 1, 1])
    assert rates(constant, 3) == [1, 1, 1]


def test_the_steps_after_the_last_planned_one_have_rate_zero() -> None:
    sgd = optimizer()
    (scheduler,) = cosine(sgd, num_steps=2, mode="min")
    for _ in range(4):
        sgd.step()
        scheduler.step()
    assert sgd.param_groups[0]["lr"] == 0


def test_a_plateau_halves_the_rate_without_disturbing_the_warm_up() -> None:
    sgd = optimizer(lr=0.8)
    rising, best = plateau(sgd, num_steps=10, mode="max", warmup=0.4, patience=0)
    assert isinstance(best, ReduceLROnPlateau)
    found = []
    for step in range(8):
        found.append(sgd.param_groups[0]["lr"])
        sgd.step()
        rising.step()
        if step % 2:  # "validation"
            best.step(0.5)
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 5])
def test_a_warm_up_that_is_no_share_is_refused(warmup: float) -> None:
    with pytest.raises(UserError, match=r"schedule\.warmup"):
        cosine(optimizer(), num_steps=10, mode="min", warmup=warmup)
