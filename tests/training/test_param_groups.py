from functools import partial

import pytest
import torch
from timm.optim import param_groups_weight_decay

from deepfake.models.detector import Detector
from deepfake.models.efficientnet import EfficientNet
from deepfake.models.heads import LSTMHead
from deepfake.models.mesonet import Meso4, MesoInception4
from deepfake.records import InputSpec
from deepfake.training.optim import make_optimizer, param_groups

BACKBONES = {
    "meso": partial(Meso4, image_size=32),
    "meso_inception": partial(MesoInception4, image_size=32),
    "efficientnet": EfficientNet,
    "efficientnetv2": partial(EfficientNet, name="tf_efficientnetv2_b0"),
}


@pytest.fixture(params=BACKBONES)
def lstm_detector(request: pytest.FixtureRequest) -> Detector:
    spec = InputSpec(size=32, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))
    return Detector(BACKBONES[request.param](), partial(LSTMHead, hidden_size=4), spec)


def ids(params: list[torch.nn.Parameter]) -> set[int]:
    return {id(param) for param in params}


def test_norms_and_biases_do_not_decay(lstm_detector: Detector) -> None:
    weights, others = param_groups(lstm_detector)
    no_decay, decay = param_groups_weight_decay(lstm_detector, weight_decay=0.1)
    assert ids(weights["params"]) == ids(decay["params"])
    assert ids(others["params"]) == ids(no_decay["params"])
    adam = make_optimizer(lstm_detector, partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1))
    assert [group["weight_decay"] for group in adam.param_groups] == [0.1, 0.0]
    assert [group["lr"] for group in adam.param_groups] == [1e-3, 1e-3]


def test_every_parameter_learns_exactly_once_also_layer_by_layer(lstm_detector: Detector) -> None:
    groups = param_groups(lstm_detector, layer_decay=0.5)
    found = [id(param) for group in groups for param in group["params"]]
    assert sorted(found) == sorted(ids(list(lstm_detector.parameters())))


def test_the_rate_of_a_layer_is_a_share_of_the_next_ones(detector: Detector) -> None:
    sgd = make_optimizer(detector, partial(torch.optim.SGD, lr=0.8), layer_decay=0.5)
    rates = {group["name"].split("_")[0]: group["lr"] for group in sgd.param_groups}
    # four blocks, the dense layer, the head
    assert rates == {
        "layer00": 0.025,
        "layer01": 0.05,
        "layer02": 0.1,
        "layer03": 0.2,
        "layer04": 0.4,
        "head": 0.8,
    }
