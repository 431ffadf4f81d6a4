from functools import partial

import pytest
import torch

from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead, LSTMHead
from deepfake.models.mesonet import Meso4
from deepfake.records import InputSpec


def spec(size: int = 256, window: int = 1) -> InputSpec:
    return InputSpec(size=size, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1), window=window)


def crops(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_meso4_has_the_published_number_of_parameters() -> None:
    detector = Detector(Meso4(), LinearHead, spec())
    assert sum(p.numel() for p in detector.parameters()) == 27_977


def test_meso4_normalises_after_each_relu_with_a_batchnorm_of_its_own() -> None:
    blocks = [[type(layer).__name__ for layer in block] for block in Meso4().blocks]
    assert blocks == [["Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d"]] * 4
    assert [block[0].kernel_size[0] for block in Meso4().blocks] == [3, 5, 5, 5]


@pytest.mark.parametrize("head", [LinearHead, partial(LSTMHead, hidden_size=8)])
def test_a_window_of_any_length_gives_one_finite_logit(head: object) -> None:
    detector = Detector(Meso4(image_size=64), head, spec(64, 3)).eval()  # type: ignore[arg-type]
    for window in (1, 3, 5):
        logits = detector(crops(2, window, 3, 64, 64))
        assert logits.shape == (2,)
        assert logits.isfinite().all()


@pytest.mark.parametrize("head", [LinearHead, LSTMHead])
def test_scores_do_not_depend_on_the_batch_a_window_is_in(head: type) -> None:
    detector = Detector(Meso4(image_size=64), head, spec(64, 4)).eval()
    batch = crops(6, 4, 3, 64, 64)
    alone = torch.cat([detector(batch[i : i + 1]) for i in range(6)])
    assert torch.allclose(detector(batch), alone, atol=1e-6)


def test_an_lstm_reads_order_and_a_linear_head_does_not() -> None:
    torch.manual_seed(0)
    batch = torch.linspace(0, 255, 6).to(torch.uint8).view(1, 6, 1, 1, 1).expand(1, 6, 3, 64, 64)  # it dawns
    for head, reads_order in ((LSTMHead, True), (LinearHead, False)):
        detector = Detector(Meso4(image_size=64), head, spec(64, 6)).eval()
        same = torch.allclose(detector(batch), detector(batch.flip(1)), atol=1e-6)
        assert same is not reads_order


def test_the_detector_normalises_bytes_with_its_own_mean_and_std() -> None:
    class Echo(torch.nn.Module):
        num_features = 1

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frames.mean(dim=(1, 2, 3))[:, None]

    def first(_: int) -> torch.nn.Module:
        return torch.nn.Flatten(0)

    values = InputSpec(size=4, margin=1, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    white = torch.full((1, 1, 3, 4, 4), 255, dtype=torch.uint8)
    assert Detector(Echo(), first, values)(white).item() == pytest.approx(2.0)


def test_the_fingerprint_changes_with_any_weight_and_with_nothing_else() -> None:
    torch.manual_seed(0)
    detector = Detector(Meso4(image_size=64), partial(LSTMHead, hidden_size=8), spec(64))
    before = detector.fingerprint
    assert len(before) == 64
    detector.eval()(crops(1, 1, 3, 64, 64))
    assert detector.fingerprint == before
    detector.state_dict()["head.linear.bias"] += 1
    assert detector.fingerprint != before
