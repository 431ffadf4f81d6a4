import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead, LSTMHead
from deepfake.models.mesonet import Meso4, MesoInception4
from deepfake.models.weights import Weights, load_weights
from deepfake.records import InputSpec


def detector(backbone: nn.Module, head: type = LinearHead) -> Detector:
    return Detector(backbone, head, InputSpec(size=64, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1)))


def weights_of(model: Detector) -> Weights:
    return Weights(path=Path("some.pth"), made_for="Meso4 of 64 px", state=model.state_dict(), input={})


def test_every_tensor_arrives() -> None:
    given, model = detector(Meso4(image_size=64)), detector(Meso4(image_size=64))
    assert load_weights(model, weights_of(given))
    for name, value in given.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_head_of_another_kind_stays_as_it_was() -> None:
    given = detector(Meso4(image_size=64))
    model = detector(Meso4(image_size=64), partial(LSTMHead, hidden_size=16))  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in model.head.state_dict().items()}
    assert not load_weights(model, weights_of(given))
    assert torch.equal(model.backbone.dense.weight, given.backbone.dense.weight)  # type: ignore[union-attr]
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())


@pytest.mark.parametrize(
    ("backbone", "difference"),
    [
        (
            Meso4(image_size=32),
            "backbone.dense.weight is (16, 16) in the model and (16, 64) in the file",
        ),
        (
            MesoInception4(image_size=64),
            "its backbone.blocks.0.0.branches.0.0.weight (1, 3, 1, 1) is not in the file, "
            "which has backbone.blocks.0.0.weight (8, 3, 3, 3) instead",
        ),
    ],
)
def test_another_architecture_is_told_by_the_first_tensor_with_both_shapes(
    backbone: nn.Module, difference: str
) -> None:
    model = detector(backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    text = f"weights=some.pth: made for Meso4 of 64 px, which is not this model: {difference}; choose model="
    with pytest.raises(UserError, match=re.escape(text)):
        load_weights(model, weights_of(detector(Meso4(image_size=64))))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
