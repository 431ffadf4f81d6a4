"""An ONNX file from anybody, checked before onnxruntime sees it: it reads no other file, and asks for no more
memory than a detector does."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from deepfake.errors import UserError

MAX_ELEMENTS = 2**28  # of one tensor, for one frame or one window: 1 GiB in float32
MAX_ALL_ELEMENTS = 2**31  # of all tensors together; an EfficientNet-B7 of 600 px needs about 2**30
MAX_VALUE_BYTES = 4096  # of a tensor that says how large another one is
MAX_INFERENCE_BYTES = 2**29  # shape inference itself can be made to ask for any memory
EXTERNAL = 1  # TensorProto.EXTERNAL
STANDARD_DOMAINS = ("", "ai.onnx")
REPEATING = {"Loop", "Scan", "SequenceMap"}
SIZED_BY_VALUES = {
    *("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Upsample", "OneHot", "CenterCropPad"),
    *("Col2Im", "MaxUnpool", "AffineGrid", "DFT", "STFT", "HannWindow", "HammingWindow", "BlackmanWindow"),
    *("MelWeightMatrix", "RandomNormal", "RandomUniform"),
}
"""Operations whose result may have any size, whatever the size of what they are given."""


def check_tensors(model: Any) -> None:
    """Raise UserError unless every tensor lies in the file itself and every operation is a standard one.

    Tensors are looked at wherever they stand: weights, attributes of nodes, graphs within nodes.
    """
    # first of all, since whatever else is wrong, this is what must be told
    for message in messages(model):
        if message.DESCRIPTOR.name == "TensorProto" and (
            message.external_data or message.data_location == EXTERNAL
        ):
            raise UserError(
                f"{message.name or 'a tensor'} is kept in another file; one file is read, no more"
            )
    if model.functions or model.training_info:
        raise UserError("it holds functions or a training; export writes none")
    for message in messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "TensorProto":
            num = elements(message.dims)
            if not 0 <= num <= 2 * message.ByteSize():  # two of four bits fit into a byte
                raise UserError(f"{message.name or 'a tensor'} declares {num} elements and holds fewer")
        elif kind == "SparseTensorProto":
            check_size(message.values.name or "a sparse tensor", message.dims)
        elif kind == "NodeProto":
            if message.domain not in STANDARD_DOMAINS:
                raise UserError(
                    f"its {message.op_type} is of {message.domain!r:.80}; export writes none of it"
                )
            if message.op_type in REPEATING:
                raise UserError(f"it holds a {message.op_type}, whose work cannot be known beforehand")


def check_sizes(model: Any, start: Sequence[int]) -> None:
    """Raise UserError unless all that a graph computes from one frame or window has a size of a detector's.

    start: the first axes of the graph's input, of which the file may say something else. A size that cannot
    be inferred counts as 1, except where an operation takes the size of its result from values.
    """
    outline = type(model)()
    outline.CopyFrom(model)
    for message in messages(outline):
        if message.DESCRIPTOR.name == "GraphProto":
            del message.value_info[:]  # what the file says of them may be wrong
        elif message.DESCRIPTOR.name == "TensorProto" and message.ByteSize() > MAX_VALUE_BYTES:
            message.ClearField("raw_data")
    shape = outline.graph.input[0].type.tensor_type.shape
    rest = [dim.dim_value for dim in shape.dim[len(start) :]]
    del shape.dim[:]
    for size in (*start, *rest):
        shape.dim.add(dim_value=size)
    for output in outline.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        with limited_memory(MAX_INFERENCE_BYTES):
            inferred = import_module("onnx.shape_inference").infer_shapes(outline, data_prop=True)
    except MemoryError as err:
        raise UserError("its tensors need more memory than a detector's") from err
    total = 0
    for graph in (message for message in messages(inferred) if message.DESCRIPTOR.name == "GraphProto"):
        shapes = {value.name: shape_of(value) for value in (*graph.value_info, *graph.output)}
        for node in graph.node:
            for name in filter(None, node.output):
                found = shapes.get(name)
                if node.op_type in SIZED_BY_VALUES and (found is None or None in found):
                    raise UserError(
                        f"how large the {node.op_type} {name!r:.80} is cannot be known beforehand"
                    )
                known = [size for size in found or () if size is not None]
                total += check_size(f"the {node.op_type} {name!r:.80}", known)
    if total > MAX_ALL_ELEMENTS:
        raise UserError(f"its tensors hold {total} elements together; {MAX_ALL_ELEMENTS} are allowed")


@contextmanager
def limited_memory(num_bytes: int) -> Iterator[None]:
    """Let this process ask for so many bytes more and no others: MemoryError is raised instead."""
    old, most = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = [limit for limit in (old, most, held + num_bytes) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (old, most))


def check_size(name: str, shape: Sequence[int]) -> int:
    """The number of elements of a shape; raises UserError if it is too large."""
    num = elements(shape)
    if not 0 <= num <= MAX_ELEMENTS:
        raise UserError(f"{name} has shape {list(shape)!s:.80}; {MAX_ELEMENTS} elements are allowed")
    return num


def elements(shape: Sequence[int]) -> int:
    """The product of sizes; -1 if one is negative."""
    return -1 if any(size < 0 for size in shape) else prod(shape)


def shape_of(value: Any) -> list[int | None] | None:
    """The sizes of a tensor, None for one that is not known; None if not even their number is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all that lie in it, at any depth."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from messages(part)
