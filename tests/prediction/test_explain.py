from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from deepfake.errors import UserError
from deepfake.models.detector import Detector
from deepfake.models.efficientnet import EfficientNet
from deepfake.models.heads import LinearHead, LSTMHead
from deepfake.models.mesonet import Meso4, MesoInception4
from deepfake.prediction import explain
from deepfake.prediction.explain import grad_cam, hottest_is_one, occlusion
from deepfake.records import InputSpec

SIZE = 64
BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "meso": partial(Meso4, image_size=SIZE),
    "meso_inception": partial(MesoInception4, image_size=SIZE),
    "efficientnet": EfficientNet,
}
HEADS: dict[str, Callable[[int], nn.Module]] = {
    "linear": LinearHead,
    "lstm": partial(LSTMHead, hidden_size=8),
}
MAP_SIDES = {"meso": SIZE // 8, "meso_inception": SIZE // 8, "efficientnet": SIZE // 32}


def make_detector(backbone: str = "meso", head: str = "linear", *, channels_last: bool = True) -> Detector:
    torch.manual_seed(0)
    spec = InputSpec(size=SIZE, margin=1.3, mean=(0.5,) * 3, std=(0.5,) * 3, window=3)
    return Detector(BACKBONES[backbone](), HEADS[head], spec, channels_last=channels_last).eval()


def windows(num: int = 4, length: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, length, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_heat_is_the_mean_gradient_of_each_map_times_the_map(backbone: str, head: str) -> None:
    detector = make_detector(backbone, head)
    crops = windows(2)
    kept: list[Tensor] = []
    hook = detector.backbone.map_layer.register_forward_hook(lambda *args: kept.append(args[2]))
    logits = detector(crops)
    hook.remove()
    (maps,) = kept
    assert maps.shape[-1] == MAP_SIDES[backbone]
    (gradient,) = torch.autograd.grad(logits.sum(), maps)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
    wanted = nn.functional.interpolate(cam, (SIZE, SIZE), mode="bilinear").view(2, 3, SIZE, SIZE)
    wanted = wanted / wanted.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
    heat = grad_cam(detector, crops)
    assert (heat.shape, heat.dtype) == ((2, 3, SIZE, SIZE), torch.float32)
    assert torch.allclose(heat, wanted, atol=1e-4)
    assert heat.amin() >= 0
    assert heat.amax(dim=(1, 2, 3)) == pytest.approx([1, 1])


@pytest.mark.parametrize("heat_maps", [grad_cam, partial(occlusion, patch_px=32)])
@pytest.mark.parametrize("head", HEADS)
def test_heat_depends_neither_on_the_batch_nor_on_the_moment(heat_maps: explain.HeatMaps, head: str) -> None:
    detector, crops = make_detector(head=head), windows(3)
    together = heat_maps(detector, crops)
    alone = torch.cat([heat_maps(detector, crops[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.equal(together, heat_maps(detector, crops))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_heat_is_the_same_in_either_memory_format(backbone: str) -> None:
    heat = [grad_cam(make_detector(backbone, channels_last=which), windows(2)) for which in (True, False)]
    assert torch.allclose(*heat, atol=1e-3)


def test_the_detector_is_left_as_it_was() -> None:
    detector, crops = make_detector(head="lstm"), windows(2)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    with torch.no_grad():
        logits = detector(crops)
    grad_cam(detector, crops)
    occlusion(detector, crops, patch_px=32)
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in detector.modules())
    assert not any(module._forward_pre_hooks or module._backward_pre_hooks for module in detector.modules())
    assert not detector.training
    with torch.no_grad():
        assert torch.equal(detector(crops), logits)


def test_frozen_weights_and_callers_without_gradients_change_nothing() -> None:
    detector, crops = make_detector(), windows(2)
    heat = grad_cam(detector, crops)
    detector.requires_grad_(False)
    assert torch.equal(grad_cam(detector, crops), heat)
    with torch.no_grad():
        assert torch.equal(grad_cam(detector, crops), heat)
    with torch.inference_mode():
        assert torch.equal(grad_cam(detector, crops.clone()), heat)


def test_a_training_detector_and_a_backbone_without_maps_are_errors() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        grad_cam(make_detector().train(), windows(1))

    class Blind(nn.Module):
        num_features = 2

    spec = InputSpec(size=SIZE, margin=1.3, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(UserError, match="Blind names no map_layer"):
        grad_cam(Detector(Blind(), LinearHead, spec).eval(), windows(1))


def test_without_captum_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    explain.check_explanation(True)
    monkeypatch.setattr(explain, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="uv sync --extra explain"):
        explain.check_explanation(True)


def test_a_window_in_which_nothing_speaks_for_fake_is_cold() -> None:
    heat = torch.tensor([[[[0.0, 0.0]]], [[[0.5, 0.25]]]])
    assert hottest_is_one(heat).tolist() == [[[[0, 0]]], [[[1, 0.5]]]]


class Brightness(nn.Module):
    """Its logit is the mean of the upper left quarter, times a sign."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign, self.input = sign, InputSpec(size=SIZE, margin=1.3, mean=(0,) * 3, std=(1,) * 3)
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, T, 3, S, S) -> (B,)."""
        return self.sign * crops.float()[..., : SIZE // 2, : SIZE // 2].mean(dim=(1, 2, 3, 4))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_covering_finds_the_place_that_the_logit_hangs_on(sign: float) -> None:
    crops = torch.zeros(1, 2, 3, SIZE, SIZE, dtype=torch.uint8)
    crops[..., 8:24, 8:24] = 255  # blurred away it is darker
    heat = occlusion(Brightness(sign).eval(), crops, patch_px=16)
    bright = crops[:, :, 0] > 0
    assert torch.equal(heat[:, 0], heat[:, 1])
    if sign < 0:
        assert heat[bright].amax() == 0  # what speaks for real is cold
    else:
        assert heat[bright].mean() > 10 * heat[~bright].mean()
        assert heat[..., 48:, 48:].amax() == 0
