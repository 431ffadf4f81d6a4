import pytest
import torch

from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4, MesoInception4
from deepfake.records import InputSpec


def test_meso_inception_has_the_published_number_of_parameters() -> None:
    spec = InputSpec(size=256, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))
    detector = Detector(MesoInception4(), LinearHead, spec)
    assert sum(p.numel() for p in detector.parameters()) == 28_615


def test_an_inception_layer_has_a_plain_branch_and_three_of_growing_dilation() -> None:
    branches = [
        [(c.kernel_size[0], c.dilation[0], c.out_channels) for c in branch if isinstance(c, torch.nn.Conv2d)]
        for branch in MesoInception4().blocks[0][0].branches
    ]
    assert branches == [
        [(1, 1, 1)],
        [(1, 1, 4), (3, 1, 4)],
        [(1, 1, 4), (3, 2, 4)],
        [(1, 1, 2), (3, 3, 2)],
    ]


@pytest.mark.parametrize("network", [Meso4, MesoInception4])
def test_an_image_size_that_does_not_pool_evenly_is_refused(network: type) -> None:
    assert network(image_size=64)(torch.zeros(2, 3, 64, 64)).shape == (2, 16)
    with pytest.raises(ValueError, match="image_size 100"):
        network(image_size=100)
