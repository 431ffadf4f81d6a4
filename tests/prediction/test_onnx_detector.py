"""ONNX files: the two parts of one say what the whole says, and what is no such file is refused."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from benchmarks.windows import warm_up
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.heads import LSTMHead
from deepfake.models.mesonet import Meso4
from deepfake.prediction.detector import LoadedDetector, load_detector
from deepfake.prediction.export import to_onnx
from deepfake.prediction.onnx_detector import load_onnx, make_notes, read_notes, session
from deepfake.prediction.outputs import explainable
from deepfake.records import InputSpec
from deepfake.scoring.decision import Decision
from deepfake.training.checkpoint import Checkpoint

SPEC = InputSpec(size=32, margin=1.3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), window=3)
STAMP = {"name": "demo/official", "hash": "0123456789abcdef"}
NET = {
    "_target_": "deepfake.models.detector.Detector",
    "backbone": {"_target_": "deepfake.models.mesonet.Meso4", "image_size": 32},
    "head": {"_target_": "deepfake.models.heads.LSTMHead", "_partial_": True, "hidden_size": 8},
    "input": {"_target_": "deepfake.records.InputSpec", **json.loads(json.dumps(asdict(SPEC)))},
}
CHECKPOINT = Checkpoint(
    net=NET,
    faces=FaceSettings(num_clips=2),
    decision=Decision(threshold=0.625, temperature=0.75),
    protocol={**STAMP, "seen": {"train": {"identities": ["me"]}}},
)


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=random)


@pytest.fixture(scope="module")
def detector(crops: torch.Tensor) -> Detector:
    torch.manual_seed(0)
    made = Detector(Meso4(image_size=32), partial(LSTMHead, hidden_size=8), SPEC).eval()
    warm_up(made, crops)
    return made


@pytest.fixture(scope="module")
def file(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    notes = make_notes(detector, CHECKPOINT, {"network": detector.fingerprint})
    path.write_bytes(to_onnx(detector, json.dumps(notes)))
    return path


def test_the_parts_score_shared_frames_as_pytorch_does_and_read_each_once(
    detector: Detector, file: Path, crops: torch.Tensor
) -> None:
    loaded, _ = load_onnx(file)
    windows = np.array([[start, start + 1, start + 2] for start in range(10)])
    read: list[int] = []

    def reading(numbers: np.ndarray) -> torch.Tensor:
        read.extend(numbers.tolist())
        return crops[torch.from_numpy(numbers)]

    scores = loaded.score(windows, reading)
    assert read == list(range(12))
    expected = detector.score(windows, lambda numbers: crops[torch.from_numpy(numbers)])
    assert expected.std() > 1e-3  # or all would be alike
    assert (scores - expected).abs().max() <= 1e-6
    whole = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    (logit,) = whole.run(None, {"crops": crops[torch.from_numpy(windows)].numpy()})
    assert np.abs(logit - expected.numpy()).max() <= 1e-6


def test_the_file_tells_its_input_and_checkpoint_and_nobody_s_name_or_folder(file: Path) -> None:
    loaded, checkpoint = load_onnx(file)
    assert loaded.input == SPEC
    assert loaded.fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()
    assert checkpoint == replace(CHECKPOINT, protocol=STAMP)
    content = file.read_bytes()
    assert [
        content.count(word) for word in (b"identities", b".py", str(Path(__file__).parents[2]).encode())
    ] == [
        0,
        0,
        0,
    ]
    whole = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,), (answer,) = whole.get_inputs(), whole.get_outputs()
    assert (given.name, given.type, given.shape) == ("crops", "tensor(uint8)", ["batch", "window", 3, 32, 32])
    assert (answer.name, answer.type, answer.shape) == ("logit", "tensor(float)", ["batch"])


def test_sessions_have_the_threads_that_torch_has(file: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            assert session(file.read_bytes()).get_session_options().intra_op_num_threads == number
    finally:
        torch.set_num_threads(threads)


def test_asking_for_a_gpu_where_onnxruntime_has_none_uses_the_cpu_and_says_so(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    assert session(file.read_bytes(), device="cuda").get_providers() == ["CPUExecutionProvider"]
    assert "onnxruntime-gpu" in caplog.text


def without_notes(model: Any) -> None:
    del model.metadata_props[:]


def of_another_format(model: Any) -> None:
    model.metadata_props[0].value = json.dumps({**json.loads(model.metadata_props[0].value), "format": 7})


def with_damaged_notes(model: Any) -> None:
    model.metadata_props[0].value = '{"format": 1}'


def with_settings_unknown(model: Any) -> None:
    notes = json.loads(model.metadata_props[0].value)
    notes["checkpoint"]["faces"]["colour"] = 1
    model.metadata_props[0].value = json.dumps(notes)


def with_code_in_its_net(model: Any) -> None:
    notes = json.loads(model.metadata_props[0].value)
    notes["checkpoint"]["net"]["backbone"]["_args_"] = ["${oc.env:HOME}"]
    model.metadata_props[0].value = json.dumps(notes)


def with_a_foreign_rule(model: Any) -> None:
    notes = json.loads(model.metadata_props[0].value)
    notes["checkpoint"]["rule"] = 1
    model.metadata_props[0].value = json.dumps(notes)


def for_other_crops(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[4].dim_value = 64


def with_another_answer(model: Any) -> None:
    model.graph.output[0].name = "prob"


def in_one_piece(model: Any) -> None:
    del model.graph.value_info[:]


def with_weights_elsewhere(model: Any) -> None:
    model.graph.initializer[-1].external_data.add(key="location", value="/etc/passwd")


def with_an_unknown_operation(model: Any) -> None:
    model.graph.node[-1].op_type = "Teleport"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_notes, "not written by scripts/export.py"),
        (of_another_format, "its notes have format 7, and this version reads 1"),
        (with_damaged_notes, "damaged notes"),
        (with_settings_unknown, "colour"),
        (with_a_foreign_rule, "not the entries of this version"),
        (with_code_in_its_net, "refused"),
        (for_other_crops, r"its input is \[\('crops', 'UINT8', \(None, None, 3, 32, 64\)\)\], not"),
        (with_another_answer, "its output is .*prob.*, not"),
        (in_one_piece, "its graph has no tensor frames"),
        (with_weights_elsewhere, "is kept in another file"),
        (with_an_unknown_operation, "onnxruntime refuses its graph"),
    ],
)
def test_what_export_did_not_write_is_refused_in_one_line(
    file: Path, tmp_path: Path, spoil: Callable[[Any], None], told: str
) -> None:
    model = onnx.load_model_from_string(file.read_bytes())
    spoil(model)
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=told) as caught:
        load_detector(path)
    assert "\n" not in str(caught.value)


def test_heat_maps_of_an_exported_detector_are_refused_with_the_mend(file: Path) -> None:
    loaded = load_detector(file, device="cpu")
    with pytest.raises(UserError, match=r"give the checkpoint that .*tiny\.onnx was made of"):
        explainable(loaded)


def test_a_loaded_file_is_known_by_its_own_fingerprint_and_by_its_preprocessing(
    file: Path, detector: Detector
) -> None:
    loaded, network = load_detector(file, device="cpu"), LoadedDetector(detector, CHECKPOINT, Path("x.ckpt"))
    assert loaded.fingerprint != network.fingerprint
    assert loaded.preprocessing_fingerprint == network.preprocessing_fingerprint
    notes = onnxruntime.InferenceSession(file.read_bytes()).get_modelmeta().custom_metadata_map["deepfake"]
    assert json.loads(notes)["fingerprints"] == {"network": detector.fingerprint}


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    with pytest.raises(UserError, match=f"checkpoint={path}: no such file"):
        load_detector(path)
    path.write_text("not a model at all")
    with pytest.raises(UserError, match="not a readable ONNX file"):
        load_detector(path)


def test_a_pt2_file_is_refused_since_reading_it_can_run_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would run whatever code a \.pt2 file holds"):
        load_detector(tmp_path / "any.pt2")


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"^{name} is not installed.*uv sync --extra export"):
        load_detector(file)


def test_notes_are_read_as_they_were_written(detector: Detector) -> None:
    notes = make_notes(detector, CHECKPOINT, {"network": "00"})
    spec, checkpoint = read_notes(json.dumps(notes), Path("x.onnx"))
    assert spec == SPEC
    assert checkpoint == replace(CHECKPOINT, protocol=STAMP)
    assert checkpoint == read_notes(json.dumps(notes), Path("y.onnx"))[1]
    assert notes["fingerprints"] == {"network": "00"}
