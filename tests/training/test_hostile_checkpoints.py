"""Checkpoints made to do harm are refused in one line, before anything of theirs runs or takes memory."""

import copy
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4
from deepfake.models.published import read_weights
from deepfake.models.weights import Outline, Refused, read_plain
from deepfake.records import InputSpec
from deepfake.tasks import evaluate, predict, train
from deepfake.training.checkpoint import Checkpoint, read_detector

Composed = Callable[..., DictConfig]
Content = dict[str, Any]
NET = {
    "_target_": "deepfake.models.detector.Detector",
    "backbone": {"_target_": "deepfake.models.mesonet.Meso4", "image_size": 32},
    "head": {"_target_": "deepfake.models.heads.LinearHead", "_partial_": True, "dropout": 0.1},
    "input": {
        "_target_": "deepfake.records.InputSpec",
        **{
            "size": 32,
            "margin": 1.3,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "window": 1,
            "stride": 1,
        },
    },
}


def honest() -> Content:
    """What a training writes, but for its optimizer."""
    torch.manual_seed(0)
    spec = InputSpec(size=32, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))
    state = Detector(Meso4(image_size=32), LinearHead, spec).state_dict()
    protocol = {"name": "demo/official", "hash": "0" * 16, "seen": {"train": seen(), "val": seen()}}
    checkpoint = Checkpoint(net=copy.deepcopy(NET), faces=FaceSettings(num_clips=2), protocol=protocol)
    return {
        "state_dict": OrderedDict((f"detector.{name}", value) for name, value in state.items()),
        "deepfake": checkpoint.to_dict(),
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}],
        "callbacks": {},
    }


def seen() -> dict[str, list[str]]:
    names = ("identities", "pairs", "real_clips", "fake_clips", "footage", "unnamed")
    return {name: ["demo:1"] for name in names}


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.args


def touch(canary: Path) -> Call:
    return Call(os.system, f"touch '{canary}'")


def with_net(path: Path, change: Callable[[Content], object]) -> None:
    """An honest checkpoint but for its net."""
    content = honest()
    change(content["deepfake"]["net"])
    torch.save(content, path)


def with_settings(path: Path, **values: Any) -> None:
    content = honest()
    content["deepfake"] |= values
    torch.save(content, path)


def with_decision(path: Path, **values: Any) -> None:
    with_settings(path, decision=honest()["deepfake"]["decision"] | values)


def with_state(path: Path, change: Callable[[torch.Tensor], Any]) -> None:
    content = honest()
    name = "detector.backbone.dense.weight"
    content["state_dict"][name] = change(content["state_dict"][name])
    torch.save(content, path)


def zipped(path: Path, pickled: bytes, **more: bytes) -> None:
    """A file of torch.save around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
        for name, content in more.items():
            file.writestr(f"archive/data/{name.removeprefix('_')}", content)


def storage_of(num: int, shape: tuple[int, ...]) -> bytes:
    """A pickle of one tensor over a storage "0" that is said to have num floats."""

    storage = object()

    class Pickler(pickle.Pickler):
        def persistent_id(self, what: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", num) if what is storage else None

        def reducer_override(self, what: Any) -> Any:
            if isinstance(what, Call):
                stride = (1,) * len(shape)
                return torch._utils._rebuild_tensor_v2, (storage, 0, shape, stride, False, OrderedDict())
            return NotImplemented

    out = io.BytesIO()
    Pickler(out, 2).dump({"deepfake": {}, "state_dict": {"detector.x": Call(print)}})
    return out.getvalue()


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def doubled(times: int) -> list[Any]:
    """2**times values in a few bytes."""
    inner: list[Any] = [0]
    for _ in range(times):
        inner = [inner, inner]
    return inner


def legacy_tar(path: Path, canary: Path) -> None:
    """As torch.save wrote before 0.1.10, a pickle beside its storages."""
    with tarfile.open(path, "w") as file:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            content = pickle.dumps(touch(canary), 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def two_pickles(path: Path, canary: Path) -> None:
    """A plain pickle to be looked at, and another to be read."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"deepfake": {}}, 2))
        file.writestr("archive/DATA.PKL", pickle.dumps(touch(canary), 2))  # torch does not mind case


def bomb(path: Path) -> None:
    """64 MB that are 64 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", storage_of(2**24, (2**24,)))
        file.writestr("archive/data/0", bytes(2**26))


Make = Callable[[Path, Path], object]
# each writes a file that would make the canary
PAYLOADS: dict[str, Make] = {
    "os.system in the settings": lambda path, canary: torch.save(
        honest() | {"deepfake": touch(canary)}, path
    ),
    "eval among the weights": lambda path, canary: torch.save(
        {**honest(), "state_dict": {"x": Call(eval, f"open({str(canary)!r}, 'w')")}}, path
    ),
    "exec in the state of the optimizer": lambda path, canary: torch.save(
        {**honest(), "optimizer_states": [{"state": Call(exec, f"open({str(canary)!r}, 'w')")}]}, path
    ),
    "a file opened by a callback's state": lambda path, canary: torch.save(
        {**honest(), "callbacks": {"x": Call(open, str(canary), "w")}}, path
    ),
    "before torch 1.6": lambda path, canary: torch.save(
        {**honest(), "loops": touch(canary)}, path, _use_new_zipfile_serialization=False
    ),
    "a tar": legacy_tar,
    "a bare pickle": lambda path, canary: path.write_bytes(pickle.dumps(touch(canary), 2)),
    "a newer pickle": lambda path, canary: path.write_bytes(pickle.dumps(touch(canary), 5)),
    "text opcodes": lambda path, canary: path.write_bytes(
        f"cos\nsystem\n(S\"touch '{canary}'\"\ntR.".encode()
    ),
    "two pickles of one name": two_pickles,
    "a class of the path": lambda path, canary: torch.save(honest() | {"path": canary}, path),
}
# each writes a file that asks for memory or for kinds of tensors that no detector has
TENSORS: dict[str, Callable[[Path], object]] = {
    "a petabyte in a storage of 4 bytes": lambda path: zipped(path, storage_of(2**48, (2**48,)), _0=bytes(4)),
    "a tensor past the end of its storage": lambda path: zipped(path, storage_of(1, (1000,)), _0=bytes(4)),
    "one number repeated to a petabyte": lambda path: with_state(
        path, lambda _: torch.zeros(1).expand(2**48)
    ),
    "bytes made by a function": lambda path: torch.save(honest() | {"x": Call(bytearray, 2**45)}, path),
    "a tensor made by its class": lambda path: torch.save(honest() | {"x": Call(torch.Tensor, 2**45)}, path),
    "compressed parts": bomb,
    "sparse": lambda path: with_state(path, lambda value: value.to_sparse()),
    "quantised": lambda path: with_state(
        path, lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)
    ),
    "on no device": lambda path: with_state(path, lambda value: value.to("meta")),
    "lists in each other": lambda path: torch.save(honest() | {"x": nested(400)}, path),
    "2**60 values in shared lists": lambda path: torch.save(honest() | {"x": doubled(60)}, path),
    "a deep tuple as a key": lambda path: zipped(path, b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s."),
}
# each writes a checkpoint of plain data that says what no training writes
RECIPES: dict[str, Callable[[Path], object]] = {
    "a foreign target": lambda path: with_net(path, lambda net: net.update(_target_="os.system")),
    "a foreign target below": lambda path: with_net(
        path, lambda net: net["input"].update(mean=[{"_target_": "subprocess.Popen", "args": "x"}])
    ),
    "torch by way of ours": lambda path: with_net(
        path, lambda net: net["head"].update(_target_="deepfake.models.mesonet.torch.hub.load")
    ),
    "a function of ours": lambda path: with_net(
        path, lambda net: net["backbone"].update(_target_="deepfake.models.published.read_weights", path="x")
    ),
    "a task of ours": lambda path: with_net(
        path, lambda net: net.update(_target_="deepfake.cli.run", task="x")
    ),
    "timm and a hub": lambda path: with_net(
        path, lambda net: net.update(backbone={"_target_": "timm.create_model", "model_name": "hf-hub:a/b"})
    ),
    "a Lightning class": lambda path: with_net(
        path, lambda net: net.update(_target_="pytorch_lightning.loggers.CSVLogger", save_dir="x")
    ),
    "a class, no detector": lambda path: with_net(
        path, lambda net: (net.clear(), net.update(NET["backbone"], input={}))
    ),
    "positional arguments": lambda path: with_net(path, lambda net: net["backbone"].update(_args_=[32])),
    "another conversion": lambda path: with_net(path, lambda net: net["backbone"].update(_convert_="all")),
    "an interpolation": lambda path: with_net(path, lambda net: net["head"].update(dropout="${oc.env:HOME}")),
    "a path": lambda path: with_net(path, lambda net: net["backbone"].update(name="local-dir:/etc")),
    "a file to load": lambda path: with_net(
        path, lambda net: net["backbone"].update(checkpoint_path="x.pth")
    ),
    "a huge head": lambda path: with_net(
        path,
        lambda net: net["head"].update(_target_="deepfake.models.heads.LSTMHead", hidden_size=65_536),
    ),
    "a number beyond all": lambda path: with_net(path, lambda net: net["head"].update(hidden_size=10**15)),
    "a crop of 5,000 pixels": lambda path: with_net(path, lambda net: net["input"].update(size=5000)),
    "a size that is no number": lambda path: with_net(path, lambda net: net["input"].update(size="x")),
    "no net at all": lambda path: with_settings(path, net=None),
    "a checkpoint of other entries": lambda path: with_settings(path, run="x"),
    "a billion clips": lambda path: with_settings(path, faces={"num_clips": 10**9}),
    "faces of another kind": lambda path: with_settings(path, faces={"num_clips": "many"}),
    "a threshold that is none": lambda path: with_decision(path, threshold=nan),
    "a rule that nobody knows": lambda path: with_decision(path, window_rule="best"),
    "a temperature of 0": lambda path: with_decision(path, temperature=0),
    "a protocol that is a list": lambda path: with_settings(path, protocol=["x"]),
    "weights that are no numbers": lambda path: with_state(path, lambda value: value * nan),
    "weights of another shape": lambda path: with_state(path, lambda value: value[:, :1].clone()),
    "weights of another type": lambda path: with_state(path, lambda value: value.long()),
    "weights that are a list": lambda path: torch.save({**honest(), "state_dict": {"x": [1]}}, path),
}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Where the checkpoint goes, in a run folder, and the file that must not appear."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / "best.ckpt", tmp_path / "canary"


def refused(key: str, path: Path, job: Callable[[], object]) -> None:
    with pytest.raises(UserError) as caught:
        job()
    assert str(caught.value).startswith(f"{key}={path}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def test_the_honest_checkpoint_is_loaded(places: tuple[Path, Path]) -> None:
    torch.save(honest(), places[0])
    detector, checkpoint = read_detector(places[0])
    assert torch.equal(
        detector.backbone.dense.weight, honest()["state_dict"]["detector.backbone.dense.weight"]
    )
    assert checkpoint.faces.num_clips == 2


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", PAYLOADS)
def test_code_in_a_checkpoint_is_refused_wherever_a_checkpoint_is_read_and_does_not_run(
    composed: Composed, places: tuple[Path, Path], name: str
) -> None:
    path, canary = places
    PAYLOADS[name](path, canary)
    refused("checkpoint", path, lambda: read_detector(path))
    refused("weights", path, lambda: read_weights(path))
    out, given = path.parent.parent, f"'{path}'"
    predicting = composed("predict", f"checkpoint={given}", "input=x.mp4")
    refused("checkpoint", path, lambda: predict.main(predicting, out))
    refused(
        "weights",
        path,
        lambda: predict.main(composed("predict", f"weights={given}", "model=meso", "input=x"), out),
    )
    refused("checkpoint", path, lambda: evaluate.main(composed("evaluate", f"checkpoint={given}"), out))
    refused("resume", path, lambda: train.main(composed("train", f"resume={given}", "trainer=cpu"), out))
    assert not canary.exists()


def test_those_payloads_do_make_the_canary_where_pickles_are_trusted(places: tuple[Path, Path]) -> None:
    path, canary = places
    for name in ("os.system in the settings", "before torch 1.6", "exec in the state of the optimizer"):
        PAYLOADS[name](path, canary)
        torch.load(path, weights_only=False)
        assert canary.exists(), name
        canary.unlink()


@pytest.mark.filterwarnings("ignore:.*[Ss]parse|.*quantiz")
@pytest.mark.parametrize("name", TENSORS)
def test_a_file_that_asks_for_more_than_it_holds_is_refused(places: tuple[Path, Path], name: str) -> None:
    path, _ = places
    TENSORS[name](path)
    refused("checkpoint", path, lambda: read_detector(path))
    refused("weights", path, lambda: read_weights(path))


@pytest.mark.parametrize("name", RECIPES)
def test_a_checkpoint_that_no_training_writes_is_refused(
    composed: Composed, places: tuple[Path, Path], name: str
) -> None:
    path, _ = places
    RECIPES[name](path)
    predicting = composed("predict", f"checkpoint='{path}'", "input=x.mp4")
    refused("checkpoint", path, lambda: predict.main(predicting, path.parent))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "named", ["/etc/passwd", "{folder}/../../precious/checkpoints/a.ckpt", "s3://bucket/checkpoints/a.ckpt"]
)
@pytest.mark.parametrize(
    "key", ["best_model_path", "kth_best_model_path", "last_model_path", "best_k_models"]
)
def test_a_resumed_checkpoint_names_no_file_that_lightning_would_delete_or_read(
    composed: Composed, places: tuple[Path, Path], key: str, named: str
) -> None:
    path, _ = places
    text = named.format(folder=path.parent)
    state = {"dirpath": str(path.parent), key: {text: 1.0} if key == "best_k_models" else text}
    torch.save({**honest(), "callbacks": {"ModelCheckpoint{}": state}}, path)
    refused(
        "resume", path, lambda: train.main(composed("train", f"resume='{path}'", "trainer=cpu"), path.parent)
    )


def test_pretrained_weights_are_not_fetched_for_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, places: tuple[Path, Path]
) -> None:
    import timm

    asked: list[Any] = []
    monkeypatch.setattr(timm, "create_model", lambda *_, pretrained, **__: asked.append(pretrained) or 1 / 0)
    backbone = {"_target_": "deepfake.models.efficientnet.EfficientNet", "pretrained": True}
    with_net(places[0], lambda net: net.update(backbone=backbone))
    refused("checkpoint", places[0], lambda: read_detector(places[0]))
    assert asked == [False]


def test_a_memo_of_four_billion_places_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    zipped(path, b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".")
    assert read_plain(path) == {}


def test_a_storage_is_named_once_with_one_size() -> None:
    outline = Outline(io.BytesIO(b""), {})
    kind = outline.find_class("torch", "FloatStorage")
    outline.persistent_load(("storage", kind, "0", "cpu", 4))
    with pytest.raises(Refused, match="two sizes"):
        outline.persistent_load(("storage", kind, "0", "cpu", 5))


def test_what_state_dicts_hold_is_read_as_it_was_written(tmp_path: Path) -> None:
    kinds = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
    )
    content = {
        **{str(kind): torch.arange(6).to(kind).view(2, 3).t() for kind in kinds},
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "size": torch.Size([2, 3]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "ordered": torch.nn.BatchNorm2d(2).state_dict(),
        "text": "é",
    }
    for new in (True, False):
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
        found = read_plain(tmp_path / "x.pth")
        for name, value in content.items():
            if isinstance(value, torch.Tensor):
                assert found[name].dtype == value.dtype
                assert torch.equal(found[name], value), name
            elif name != "ordered":
                assert found[name] == value
        assert list(found["ordered"]) == list(content["ordered"])
