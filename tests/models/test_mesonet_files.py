"""Published MesoNets give the published scores; each layout also against a network written out here."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, leaky_relu, max_pool2d

from deepfake.errors import UserError
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4, MesoInception4
from deepfake.models.published import read_weights
from deepfake.models.weights import load_weights
from deepfake.records import InputSpec

Layers = dict[str, dict[str, np.ndarray]]
MESO4 = [(3, 3, 8), (5, 8, 8), (5, 8, 16), (5, 16, 16)]  # kernel, in, out
INCEPTION = [
    *[(1, 3, 1), (1, 3, 4), (3, 4, 4), (1, 3, 4), (3, 4, 4), (1, 3, 2), (3, 2, 2)],
    *[(1, 11, 2), (1, 11, 4), (3, 4, 4), (1, 11, 4), (3, 4, 4), (1, 11, 2), (3, 2, 2)],
    *[(5, 12, 16), (5, 16, 16)],
]


def loaded(path: Path, network: type) -> Detector:
    weights = read_weights(path)
    values = dict(weights.input)
    spec = InputSpec(size=values.pop("image_size"), **values)
    detector = Detector(network(image_size=spec.size), LinearHead, spec).eval()
    assert load_weights(detector, weights)
    return detector


def patches(size: int) -> Tensor:
    """Four frames (4, 3, size, size) uint8 of 4 × 4 plain squares each: pictures that look different."""
    squares = torch.randint(0, 256, (4, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    return squares.repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3).to(torch.uint8)


def logits(detector: Detector, frames: Tensor) -> Tensor:
    with torch.inference_mode():
        return detector(frames[:, None])


@pytest.mark.parametrize(
    ("name", "network", "fake", "real"),
    [
        ("Meso4_DF", Meso4, 0.05221, 0.99663),
        ("Meso4_F2F", Meso4, 0.83599, 0.94365),
        ("MesoInception_DF", MesoInception4, 0.02175, 1.00000),
    ],
)
def test_published_weights_give_the_scores_that_keras_gives(
    mesonet_files: Path, name: str, network: type, fake: float, real: float
) -> None:
    images = mesonet_files / "test_images"
    crops = [
        np.array(Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))
        for path in (images / "df" / "df00204.jpg", images / "real" / "real00772.jpg")
    ]
    frames = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    prob_real = 1 - logits(loaded(mesonet_files / f"{name}.h5", network), frames).sigmoid()
    assert prob_real.tolist() == pytest.approx([fake, real], abs=1e-4)


def keras_layers(convolutions: list[tuple[int, int, int]], norms: list[int], dense: int) -> Layers:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        scale = 2 / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else 0.5
        return rng.normal(0, scale, shape).astype("f4")

    layers: Layers = {}
    # names as in a session that made other networks before: conv2d_10 sorts before conv2d_9 by letters
    for number, (kernel, channels, out) in enumerate(convolutions, start=9):
        layers[f"conv2d_{number}"] = {"kernel": draw(kernel, kernel, channels, out), "bias": draw(out)}
    for number, channels in enumerate(norms, start=1):
        values = {name: draw(channels) for name in ("gamma", "beta", "moving_mean")}
        variance = rng.uniform(0.001, 2, channels).astype("f4")
        layers[f"batch_normalization_{number}"] = {**values, "moving_variance": variance}
    layers["dense"] = {"kernel": draw(dense, 16), "bias": draw(16)}
    layers["dense_1"] = {"kernel": draw(16, 1), "bias": draw(1)}
    return layers


def write_keras(path: Path, layers: Layers, *, below: str = "") -> Path:
    with h5py.File(path, "w") as file:
        for layer, weights in layers.items():
            for name, value in weights.items():
                file[f"{below}{layer}/{layer}/{name}:0"] = value
    return path


def keras_prob_real(layers: Layers, frames: Tensor) -> Tensor:
    """The authors' two networks step by step on frames (N, 3, H, W) in [0, 1]."""

    def tensor(layer: str, name: str) -> Tensor:
        return torch.from_numpy(layers[layer][name])

    def conv(number: int, maps: Tensor, dilation: int = 1) -> Tensor:
        kernel = tensor(f"conv2d_{number}", "kernel").permute(3, 2, 0, 1)
        bias = tensor(f"conv2d_{number}", "bias")
        return conv2d(maps, kernel, bias, padding="same", dilation=dilation).relu()

    def inception(first: int, maps: Tensor) -> Tensor:
        branches = [conv(first, maps)]
        for dilation in (1, 2, 3):
            one = first + 2 * dilation - 1
            branches.append(conv(one + 1, conv(one, maps), dilation))
        return torch.cat(branches, dim=1)

    def norm(number: int, maps: Tensor, pool: int) -> Tensor:
        name = f"batch_normalization_{number}"
        values = [tensor(name, key) for key in ("moving_mean", "moving_variance", "gamma", "beta")]
        return max_pool2d(batch_norm(maps, *values, training=False, eps=1e-3), pool)

    if len(layers) > 10:
        maps = norm(2, inception(16, norm(1, inception(9, frames), 2)), 2)
        maps = norm(4, conv(24, norm(3, conv(23, maps), 2)), 4)
    else:
        maps = norm(2, conv(10, norm(1, conv(9, frames), 2)), 2)
        maps = norm(4, conv(12, norm(3, conv(11, maps), 2)), 4)
    flat = maps.permute(0, 2, 3, 1).flatten(1)  # Keras has channels last
    features = leaky_relu(flat @ tensor("dense", "kernel") + tensor("dense", "bias"), 0.1)
    return (features @ tensor("dense_1", "kernel") + tensor("dense_1", "bias")).sigmoid()[:, 0]


@pytest.mark.parametrize("below", ["", "model_weights/"], ids=["weights", "whole model"])
@pytest.mark.parametrize(
    ("network", "convolutions", "norms"),
    [(Meso4, MESO4, [8, 8, 16, 16]), (MesoInception4, INCEPTION, [11, 12, 16, 16])],
)
def test_a_keras_file_of_any_image_size_gives_one_minus_its_own_score(
    tmp_path: Path, network: type, convolutions: list[Any], norms: list[int], below: str
) -> None:
    layers = keras_layers(convolutions, norms, dense=16 * 3 * 3)
    detector = loaded(write_keras(tmp_path / "weights.h5", layers, below=below), network)
    assert detector.input == InputSpec(size=96, margin=1.6, mean=(0, 0, 0), std=(1, 1, 1))
    frames = patches(96)
    expected = 1 - keras_prob_real(layers, frames / 255)
    assert expected.std() > 1e-3
    assert torch.allclose(logits(detector, frames).sigmoid(), expected, atol=2e-6)


def test_a_keras_file_of_another_network_is_counted_out(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "w.h5", keras_layers(MESO4[:2], [8, 8], dense=64))
    with pytest.raises(UserError, match="2 conv2d, 2 batch_normalization, 2 dense layers"):
        read_weights(path)
    path = write_keras(tmp_path / "v.h5", keras_layers(MESO4, [8, 8, 16, 16], dense=16 * 5))
    with pytest.raises(UserError, match=r"\(16, 80\) does not see a MesoNet's square maps"):
        read_weights(path)


def older_meso4(side: int) -> nn.ModuleDict:
    """The network of checkpoint-N.pth.tar, with statistics as if trained."""
    convs = []
    for (kernel, channels, out), pool in zip(MESO4, (2, 2, 2, 4), strict=True):
        conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
        convs += [conv, nn.ReLU(), nn.BatchNorm2d(out), nn.MaxPool2d(pool)]
    dropout = nn.Dropout(0.5)
    linear = [dropout, nn.Linear(16 * side**2, 16), nn.LeakyReLU(0.1), dropout, nn.Linear(16, 1)]
    net = nn.ModuleDict({"convs": nn.Sequential(*convs), "linear": nn.Sequential(*linear)})
    for norm in net["convs"][2::4]:
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(1e-6, 0.01)
        norm.weight.data.uniform_(0.5, 2)
    return net.eval()


def test_an_older_checkpoint_of_224_px_keeps_its_scores_epsilon_and_input(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = older_meso4(side=7)
    optimizer = torch.optim.Adam(net.parameters())
    path = tmp_path / "checkpoint-7.pth.tar"
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, path)
    detector = loaded(path, Meso4)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert detector.input == InputSpec(size=224, margin=1.05, mean=mean, std=std)
    frames = patches(224)
    with torch.inference_mode():
        normal = (frames / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        expected = net["linear"](net["convs"](normal).flatten(1))[:, 0]
    assert expected.std() > 0.01
    assert torch.allclose(logits(detector, frames), expected, atol=1e-5, rtol=1e-4)
