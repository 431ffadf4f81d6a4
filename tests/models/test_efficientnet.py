from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import binary_cross_entropy_with_logits

from deepfake.errors import UserError
from deepfake.models import efficientnet
from deepfake.models.detector import Detector
from deepfake.models.efficientnet import EfficientNet
from deepfake.models.heads import LSTMHead
from deepfake.records import InputSpec

RANDOM = torch.Generator().manual_seed(0)
CROPS = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=RANDOM)


def detector(*, grad_checkpointing: bool) -> Detector:
    torch.manual_seed(0)
    spec = InputSpec(size=64, margin=1.3, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), window=3)
    backbone = EfficientNet(grad_checkpointing=grad_checkpointing)
    return Detector(backbone, partial(LSTMHead, hidden_size=8), spec, channels_last=True)


def step(model: Detector) -> tuple[Tensor, int]:
    """The loss of one step, whose gradients are left in the model, and the bytes kept for them."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    torch.manual_seed(1)  # of dropout
    with saved_tensors_hooks(note, lambda tensor: tensor):
        loss = binary_cross_entropy_with_logits(model(CROPS), torch.tensor([0.0, 1.0]))
    loss.backward()
    return loss.detach(), sum(kept.values())


def test_checkpointing_changes_neither_loss_nor_gradients_nor_statistics_and_keeps_less() -> None:
    plain, lean = (detector(grad_checkpointing=on).train() for on in (False, True))
    for _ in range(2):
        (loss, kept), (lean_loss, lean_kept) = step(plain), step(lean)
        torch.testing.assert_close(lean_loss, loss)
        assert lean_kept < kept / 2
    for (name, param), lean_param in zip(plain.named_parameters(), lean.parameters(), strict=True):
        torch.testing.assert_close(lean_param.grad, param.grad, msg=name)
    for (name, value), lean_value in zip(plain.named_buffers(), lean.buffers(), strict=True):
        torch.testing.assert_close(lean_value, value, msg=name)  # each batch counts once


def test_checkpointing_scores_alike_however_few_frames_are_seen_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(efficientnet, "EVAL_FRAMES", 4)
    plain, lean = (detector(grad_checkpointing=on).eval() for on in (False, True))
    torch.testing.assert_close(lean(CROPS), plain(CROPS))


def test_efficientnet_features_have_the_width_that_it_declares() -> None:
    backbone = EfficientNet(name="efficientnet_b0").eval()
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, backbone.num_features) == (1, 1280)


def test_an_unknown_efficientnet_is_named() -> None:
    with pytest.raises(UserError, match=r"model\.name=resnet18"):
        EfficientNet(name="resnet18")


def test_pretrained_weights_that_cannot_be_had_give_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"model\.pretrained=true: timm could not load"):
        EfficientNet(name="efficientnet_b0", pretrained=True)
