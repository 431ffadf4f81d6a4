import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from deepfake.errors import UserError
from deepfake.models.detector import Detector
from deepfake.models.efficientnet import EfficientNet
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4
from deepfake.models.published import read_weights
from deepfake.models.weights import load_weights
from deepfake.records import InputSpec

SPEC = InputSpec(size=64, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))
SAVERS: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "before torch 1.6": lambda what, path: torch.save(what, path, _use_new_zipfile_serialization=False),
    "bare pickle": lambda what, path: path.write_bytes(pickle.dumps(what, protocol=2)) and None,
    "newest pickle": lambda what, path: path.write_bytes(pickle.dumps(what)) and None,
}


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.folder}/it_ran'",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", SAVERS.values(), ids=list(SAVERS))
def test_a_pickle_that_would_run_code_is_refused_and_does_not(
    tmp_path: Path, save: Callable[[Any, Path], None]
) -> None:
    path = tmp_path / "weights.pth"
    save({"model": {"convs.0.weight": Code(tmp_path)}}, path)
    with pytest.raises(UserError, match=r"refused: .*reading a pickle can run any code") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]
    pickle.loads(pickle.dumps(Code(tmp_path)))
    assert (tmp_path / "it_ran").exists()  # so it would have


def test_the_call_that_was_refused_is_named(tmp_path: Path) -> None:
    torch.save(Code(tmp_path), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"refused: to read it would call (posix|nt)\.system"):
        read_weights(tmp_path / "weights.pth")


@pytest.fixture(scope="module")
def b0() -> torch.nn.Module:
    """A timm model with a classifier of its own."""
    torch.manual_seed(0)
    return timm.create_model("efficientnet_b0", num_classes=10).eval()


@pytest.mark.parametrize("envelope", ["safetensors", "bare", "state_dict", "no classifier", "parallel"])
def test_timm_weights_give_timm_features_whatever_they_lie_in(
    tmp_path: Path, b0: torch.nn.Module, envelope: str
) -> None:
    state = b0.state_dict()
    path = tmp_path / "weights.bin"  # the content decides, not the name
    if envelope == "safetensors":
        save_file(state, path)
    elif envelope == "no classifier":
        torch.save({k: v for k, v in state.items() if "classifier" not in k}, path)
    elif envelope == "parallel":
        torch.save({f"module.{k}": v for k, v in state.items()}, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if envelope == "state_dict" else state, path)
    detector = Detector(EfficientNet(name="efficientnet_b0"), LinearHead, SPEC).eval()
    assert not load_weights(detector, read_weights(path))
    frames = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = b0.forward_head(b0.forward_features(frames), pre_logits=True)  # type: ignore[operator]
        assert torch.allclose(detector.backbone(frames), expected, atol=1e-5)


def test_another_efficientnet_is_told_by_its_shapes(tmp_path: Path, b0: torch.nn.Module) -> None:
    save_file(b0.state_dict(), tmp_path / "b0.safetensors")
    detector = Detector(EfficientNet(name="efficientnet_b3"), LinearHead, SPEC)
    with pytest.raises(UserError, match=r"conv_stem\.weight is \(40, .*and \(32, .*model\.name"):
        load_weights(detector, read_weights(tmp_path / "b0.safetensors"))


def test_a_checkpoint_of_ours_starts_another_training(tmp_path: Path) -> None:
    given = Detector(Meso4(image_size=64), LinearHead, SPEC)
    net = {
        "backbone": {"_target_": "deepfake.models.mesonet.Meso4"},
        "input": {"size": 64, "margin": 1.3, "mean": [0.0] * 3, "std": [1.0] * 3, "window": 1, "stride": 1},
    }
    state = {f"detector.{name}": value for name, value in given.state_dict().items()}
    torch.save({"deepfake": {"net": net}, "state_dict": state}, tmp_path / "best.ckpt")
    weights = read_weights(tmp_path / "best.ckpt")
    assert weights.ours
    assert weights.input == {"image_size": 64, "margin": 1.3, "mean": [0.0] * 3, "std": [1.0] * 3}
    assert weights.state.keys() == given.state_dict().keys()


def test_what_is_no_file_of_weights_is_one_line_that_names_it(tmp_path: Path) -> None:
    other = {"features.0.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}
    torch.save(other, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    save_file(other, tmp_path / "whole.safetensors")
    cut = (tmp_path / "whole.safetensors").read_bytes()[:-2]
    (tmp_path / "cut.safetensors").write_bytes(cut)
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["column"] = [1, 2, 3]
    (tmp_path / "cut.h5").write_bytes((tmp_path / "table.h5").read_bytes()[:600])
    reasons = {
        "other.pth": r"not a known layout \(it begins with features\.0\.weight, fc\.weight\)",
        "list.pth": r"not a known layout \(no tensors with names in it\)",
        "cut.safetensors": "damaged safetensors",
        "empty.pth": "refused: it is damaged, or no plain file of torch.save",
        "page.pth": "refused: it is damaged, or no plain file of torch.save",
        "table.h5": "a Keras file of 0 conv2d",
        "cut.h5": "damaged HDF5",
        "none.h5": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=reason) as caught:
            read_weights(tmp_path / name)
        assert str(caught.value).startswith(f"weights={tmp_path / name}: ")
        assert "\n" not in str(caught.value)


def external_link(file: h5py.File, other: Path) -> None:
    file["conv2d/kernel:0"] = h5py.ExternalLink(other, "/secret")


def external_root(file: h5py.File, other: Path) -> None:
    file["model_weights"] = h5py.ExternalLink(other, "/")


def external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("conv2d/kernel:0", (2,), "f4", external=[(str(other), 0, 8)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(other, "secret", (2,))
    file.create_virtual_dataset("conv2d/kernel:0", layout)


def huge(file: h5py.File, other: Path) -> None:
    file.create_dataset("conv2d/kernel:0", (2**25, 2**25), "f4", chunks=(1, 1))


def huge_scattered(file: h5py.File, other: Path) -> None:
    file.create_dataset("conv2d/kernel:0", (2**25, 2**25), "f4")


def compressed(file: h5py.File, other: Path) -> None:
    file.create_dataset("conv2d/kernel:0", data=np.zeros(2**20, "f4"), compression="gzip")


def texts(file: h5py.File, other: Path) -> None:
    file.create_dataset("conv2d/kernel:0", (2,), h5py.string_dtype())


def deep(file: h5py.File, other: Path) -> None:
    file.create_group("/".join("g" * 50))


def hard_links(file: h5py.File, other: Path) -> None:
    """Eight groups in each other, each of 64 names for the next: 64 ** 8 paths."""
    inner = file.create_group("leaf")
    for depth in range(8):
        group = file.create_group(f"level{depth}")
        for name in range(64):
            group[f"{name}"] = inner
        inner = group


def hard_links_to_a_dataset(file: h5py.File, other: Path) -> None:
    leaf = file.create_dataset("leaf", (0,), "f4")
    for group in range(80):
        for name in range(64):
            file[f"{group}/{name}/kernel:0"] = leaf


def hard_links_in_a_ring(file: h5py.File, other: Path) -> None:
    for name in range(64):
        file[f"a/{name}"] = file["/"]


@pytest.mark.parametrize(
    "make",
    [
        *(external_link, external_root, external_storage, virtual, huge, huge_scattered, compressed, texts),
        *(deep, hard_links, hard_links_to_a_dataset, hard_links_in_a_ring),
    ],
)
def test_an_hdf5_file_that_leads_elsewhere_or_declares_too_much_is_refused(
    tmp_path: Path, make: Callable[[h5py.File, Path], None]
) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.ones(2, "f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file, other)
    with pytest.raises(UserError, match=r"damaged HDF5 file or none of Keras \(") as caught:
        read_weights(tmp_path / "x.h5")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
        {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {
            "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
    ],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(UserError, match="damaged safetensors"):
        read_weights(path)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", {"_target_": "os.system"}, [1, 2]])
def test_what_a_checkpoint_says_of_its_crops_is_numbers(tmp_path: Path, value: Any) -> None:
    net = {
        "backbone": {"_target_": "deepfake.models.mesonet.Meso4"},
        "input": {"size": value, "margin": 1.3, "mean": [0.0] * 3, "std": [1.0] * 3},
    }
    torch.save({"deepfake": {"net": net}, "state_dict": {}}, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"no checkpoint as scripts/train\.py writes it"):
        read_weights(tmp_path / "best.ckpt")


def test_weights_that_are_no_finite_numbers_are_named(tmp_path: Path) -> None:
    save_file({"conv_stem.weight": torch.tensor([1.0, float("nan")])}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"backbone\.net\.conv_stem\.weight has values that are not finite"):
        read_weights(tmp_path / "x.safetensors")
