"""ONNX files: the two parts of one say what the whole says, and what is no such file is refused."""

import hashlib
import json
import resource
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
from deepfake.prediction.onnx_detector import load_onnx, make_metadata, read_metadata, session
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
    metadata = make_metadata(detector, CHECKPOINT, {"network": detector.fingerprint})
    path.write_bytes(to_onnx(detector, json.dumps(metadata)))
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


def without_metadata(model: Any) -> None:
    del model.metadata_props[:]


def of_another_format(model: Any) -> None:
    model.metadata_props[0].value = json.dumps({**json.loads(model.metadata_props[0].value), "format": 7})


def with_damaged_metadata(model: Any) -> None:
    model.metadata_props[0].value = '{"format": 1}'


def with_deep_notes(model: Any) -> None:
    model.metadata_props[0].value = "[" * 100_000


def with_a_number_of_400_digits(model: Any) -> None:
    notes = json.loads(model.metadata_props[0].value)
    notes["checkpoint"]["decision"]["threshold"] = 10**400
    model.metadata_props[0].value = json.dumps(notes)


def with_settings_unknown(model: Any) -> None:
    metadata = json.loads(model.metadata_props[0].value)
    metadata["checkpoint"]["faces"]["colour"] = 1
    model.metadata_props[0].value = json.dumps(metadata)


def with_code_in_its_net(model: Any) -> None:
    metadata = json.loads(model.metadata_props[0].value)
    metadata["checkpoint"]["net"]["backbone"]["_args_"] = ["${oc.env:HOME}"]
    model.metadata_props[0].value = json.dumps(metadata)


def with_a_foreign_rule(model: Any) -> None:
    metadata = json.loads(model.metadata_props[0].value)
    metadata["checkpoint"]["rule"] = 1
    model.metadata_props[0].value = json.dumps(metadata)


def for_other_crops(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[4].dim_value = 64


def with_another_answer(model: Any) -> None:
    model.graph.output[0].name = "prob"


def in_one_piece(model: Any) -> None:
    del model.graph.value_info[:]


def elsewhere(name: str, values: Any = (1.0,)) -> onnx.TensorProto:
    """A tensor whose numbers are said to be in another file."""
    tensor = onnx.numpy_helper.from_array(np.array(values, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def add_first(model: Any, *nodes: Any) -> None:
    """Put nodes before all others, and their last result into the logit."""
    helper = onnx.helper
    last = model.graph.node[-1]
    ours = [*nodes]
    ours += [helper.make_node("Cast", [nodes[-1].output[0]], ["as_float"], to=onnx.TensorProto.FLOAT)]
    ours += [helper.make_node("ReduceSum", ["as_float"], ["summed"], keepdims=0)]
    old = last.output[0]
    last.output[0] = "without"
    added = helper.make_node("Add", ["without", "summed"], [old])
    whole = [*ours, *map(copy_of, model.graph.node), added]
    del model.graph.node[:]
    model.graph.node.extend(whole)


def copy_of(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made


def branches(nodes: list[Any], *weights: Any) -> Any:
    """An If whose two branches are nodes that make "inside", with weights of their own."""
    helper = onnx.helper
    inside = helper.make_tensor_value_info("inside", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "branch", [], [inside], initializer=weights)
    return helper.make_node("If", ["yes"], ["chosen"], then_branch=graph, else_branch=graph)


def constant(name: str, values: Any) -> Any:
    value = onnx.numpy_helper.from_array(np.array(values))
    return onnx.helper.make_node("Constant", [], [name], value=value)


YES = constant("yes", True)
IDENTITY = onnx.helper.make_node("Identity", ["w"], ["inside"])


def with_weights_elsewhere(model: Any) -> None:
    model.graph.initializer[-1].external_data.add(key="location", value="/etc/passwd")


def with_a_branch_s_weights_elsewhere(model: Any) -> None:
    add_first(model, YES, branches([IDENTITY], elsewhere("w")))


def with_a_branch_of_a_branch_s_weights_elsewhere(model: Any) -> None:
    inner = branches([IDENTITY], elsewhere("w"))
    inner.output[0] = "inside"
    add_first(model, YES, branches([inner]))


def with_a_loop_s_weights_elsewhere(model: Any) -> None:
    helper, types = onnx.helper, onnx.TensorProto
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["going"]), IDENTITY],
        "body",
        [
            helper.make_tensor_value_info("i", types.INT64, []),
            helper.make_tensor_value_info("go", types.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("going", types.BOOL, []),
            helper.make_tensor_value_info("inside", types.FLOAT, None),
        ],
        initializer=[elsewhere("w")],
    )
    add_first(model, YES, constant("two", 2), helper.make_node("Loop", ["two", "yes"], ["all"], body=body))


def with_a_constant_elsewhere(model: Any) -> None:
    add_first(model, onnx.helper.make_node("Constant", [], ["c"], value=elsewhere("c")))


def with_a_location_alone(model: Any) -> None:
    model.graph.initializer[-1].data_location = onnx.TensorProto.EXTERNAL


def with_a_sparse_constant_elsewhere(model: Any) -> None:
    sparse = onnx.SparseTensorProto(values=elsewhere("s"), dims=[4])
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.array([1]), "s_indices"))
    add_first(model, onnx.helper.make_node("Constant", [], ["c"], sparse_value=sparse))


def with_sparse_weights_elsewhere(model: Any) -> None:
    model.graph.sparse_initializer.add(values=elsewhere("s"), dims=[4])


def with_a_function_that_reads_elsewhere(model: Any) -> None:
    node = onnx.helper.make_node("Constant", [], ["c"], value=elsewhere("c"))
    model.functions.append(
        onnx.helper.make_function("ours", "F", [], ["c"], [node], [onnx.helper.make_opsetid("", 18)])
    )


def with_a_function(model: Any) -> None:
    model.functions.append(
        onnx.helper.make_function("ours", "F", [], ["yes"], [YES], [onnx.helper.make_opsetid("", 18)])
    )


def with_another_runtime_s_cache(model: Any) -> None:
    add_first(
        model,
        onnx.helper.make_node("EPContext", [], ["c"], domain="com.microsoft", ep_cache_context="/etc/passwd"),
    )


def with_a_huge_constant(model: Any) -> None:
    add_first(
        model, constant("shape", [2**20, 2**20]), onnx.helper.make_node("ConstantOfShape", ["shape"], ["c"])
    )


def with_a_huge_constant_in_a_branch(model: Any) -> None:
    make = onnx.helper.make_node("ConstantOfShape", ["shape"], ["inside"])
    add_first(model, YES, branches([constant("shape", [2**20, 2**20]), make]))


def with_a_huge_constant_of_a_computed_shape(model: Any) -> None:
    add_first(
        model,
        constant("side", [2**20]),
        onnx.helper.make_node("Mul", ["side", "side"], ["shape"]),
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["c"]),
    )


def with_a_constant_of_a_shape_that_is_hard_to_know(model: Any) -> None:
    add_first(
        model,
        constant("side", [2.0**20]),
        onnx.helper.make_node("Exp", ["side"], ["exp"]),
        onnx.helper.make_node("Cast", ["exp"], ["shape"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["c"]),
    )


def with_a_huge_expand(model: Any) -> None:
    add_first(
        model,
        constant("shape", [2**20, 2**20]),
        constant("one", [1.0]),
        onnx.helper.make_node("Expand", ["one", "shape"], ["c"]),
    )


def with_a_huge_tile(model: Any) -> None:
    add_first(
        model,
        constant("times", [2**40]),
        constant("one", [1.0]),
        onnx.helper.make_node("Tile", ["one", "times"], ["c"]),
    )


def with_a_huge_sum(model: Any) -> None:
    add_first(
        model,
        constant("row", np.zeros((1, 2**15), np.float32)),
        onnx.helper.make_node("Transpose", ["row"], ["column"]),
        onnx.helper.make_node("Add", ["row", "column"], ["c"]),
    )


def with_many_large_constants(model: Any) -> None:
    makes = [onnx.helper.make_node("ConstantOfShape", ["shape"], [f"c{n}"]) for n in range(9)]
    join = onnx.helper.make_node("Sum", [f"c{n}" for n in range(9)], ["c"])
    add_first(model, constant("shape", [2**14, 2**14]), *makes, join)


def with_a_huge_range(model: Any) -> None:
    ends = [constant(name, value) for name, value in (("from", 0), ("to", 2**40), ("by", 1))]
    add_first(model, *ends, onnx.helper.make_node("Range", ["from", "to", "by"], ["c"]))


def with_a_huge_sparse_constant(model: Any) -> None:
    sparse = onnx.SparseTensorProto(dims=[2**40])
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.array([1]), "s_indices"))
    add_first(model, onnx.helper.make_node("Constant", [], ["c"], sparse_value=sparse))


def with_weights_that_are_not_there(model: Any) -> None:
    model.graph.initializer[-1].dims[:] = [2**40]


def with_an_unknown_operation(model: Any) -> None:
    model.graph.node[-1].op_type = "Teleport"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_metadata, "not written by scripts/export.py"),
        (of_another_format, "its metadata has format 7"),
        (with_damaged_metadata, "damaged metadata"),
        (with_deep_notes, "RecursionError"),
        (with_a_number_of_400_digits, "threshold"),
        (with_settings_unknown, "colour"),
        (with_a_foreign_rule, "not the entries of this version"),
        (with_code_in_its_net, "refused"),
        (for_other_crops, r"its input is \[\('crops', 'UINT8', \(None, None, 3, 32, 64\)\)\], not"),
        (with_another_answer, "its output is .*prob.*, not"),
        (in_one_piece, "its graph has no tensor frames"),
        (with_weights_elsewhere, "is kept in another file"),
        (with_a_branch_s_weights_elsewhere, "w is kept in another file"),
        (with_a_branch_of_a_branch_s_weights_elsewhere, "w is kept in another file"),
        (with_a_loop_s_weights_elsewhere, "w is kept in another file"),
        (with_a_constant_elsewhere, "c is kept in another file"),
        (with_a_location_alone, "is kept in another file"),
        (with_a_sparse_constant_elsewhere, "s is kept in another file"),
        (with_sparse_weights_elsewhere, "s is kept in another file"),
        (with_a_function_that_reads_elsewhere, "c is kept in another file"),
        (with_a_function, "functions"),
        (with_another_runtime_s_cache, "EPContext"),
        (with_a_huge_constant, "ConstantOfShape 'c'"),
        (with_a_huge_constant_in_a_branch, r"has shape \[1048576, 1048576\]"),
        (with_a_huge_constant_of_a_computed_shape, "memory"),
        (with_a_constant_of_a_shape_that_is_hard_to_know, "ConstantOfShape 'c'"),
        (with_a_huge_expand, "Expand 'c'"),
        (with_a_huge_tile, "memory"),
        (with_a_huge_sum, "Add 'c'"),
        (with_many_large_constants, "elements together"),
        (with_a_huge_range, "memory"),
        (with_a_huge_sparse_constant, r"\[1099511627776\]"),
        (with_weights_that_are_not_there, "declares 1099511627776"),
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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=told) as caught:
        load_detector(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB
    assert "\n" not in str(caught.value)


def test_a_graph_with_a_choice_and_a_small_constant_is_read(file: Path, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(file.read_bytes())
    make = onnx.helper.make_node("ConstantOfShape", ["shape"], ["inside"])
    add_first(model, YES, branches([constant("shape", [4]), make]))
    path = tmp_path / "choice.onnx"
    path.write_bytes(model.SerializeToString())
    load_detector(path)


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
    metadata = onnxruntime.InferenceSession(file.read_bytes()).get_modelmeta().custom_metadata_map["deepfake"]
    assert json.loads(metadata)["fingerprints"] == {"network": detector.fingerprint}


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
    metadata = make_metadata(detector, CHECKPOINT, {"network": "00"})
    spec, checkpoint = read_metadata(json.dumps(metadata), Path("x.onnx"))
    assert spec == SPEC
    assert checkpoint == replace(CHECKPOINT, protocol=STAMP)
    assert checkpoint == read_metadata(json.dumps(metadata), Path("y.onnx"))[1]
    assert metadata["fingerprints"] == {"network": "00"}
