"""Files of torch.save from anybody: looked through as plain data before torch makes a single tensor of them.

torch.load with weights_only runs no code of a file, but it makes what the file asks for: storages of any
size, tensors past the end of theirs, kinds of tensors that no detector has. Here the pickle is read with
stand-ins first, and only a file that holds what it declares is given to torch.
"""

from __future__ import annotations

import pickle
import warnings
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from deepfake.errors import UserError
from deepfake.models.detector import Detector

MAX_PICKLE = 64 * 2**20  # bytes; all but the tensors. 130,951 of an EfficientNet with its optimizer
MAX_DEPTH = 64  # of containers in containers
MAX_VALUES = 10_000_000  # in all; a value that stands in two places counts twice
MAX_AXES = 8  # of a tensor
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # at the start of files from before torch 1.6
ZIP_START = b"PK\x03\x04"
# what torch's own reader knows, but for new objects and sets, which no state dict needs
OPCODES = (
    "PROTO STOP GLOBAL REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "NONE NEWFALSE NEWTRUE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT BININT BININT1 BININT2 BINFLOAT BINUNICODE "
    "SHORT_BINSTRING LONG1 BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT"
).split()


class Refused(ValueError):
    """Why a file is not read, in one line."""


@dataclass(frozen=True, slots=True)
class StorageKind:
    """A type of storage: bytes an element."""

    item_bytes: int


@dataclass(frozen=True, slots=True)
class StorageOutline:
    """A storage that is declared: its number of elements."""

    num: int


class TensorOutline:
    """Stands for a tensor of a storage that holds it."""

    def __init__(
        self,
        storage: StorageOutline,
        offset: int,
        shape: tuple[int, ...],
        stride: tuple[int, ...],
        *others: object,
    ) -> None:
        metadata = others[2:]  # after requires_grad and hooks
        whole = (offset, *shape, *stride)
        plain = len(shape) <= MAX_AXES and all(type(n) is int and 0 <= n < 2**63 for n in whole)
        if not plain or any(metadata):
            raise Refused("a tensor in it is none of a plain array's layout")
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        # with repeated elements a few bytes would stand for a tensor of any size
        if prod(shape) and (prod(shape) > storage.num or last >= storage.num):
            raise Refused(f"a tensor of shape {shape} is declared over {storage.num} elements")


def parameter(data: TensorOutline, *_: object) -> TensorOutline:
    """Stands for a tensor that is trained."""
    if not isinstance(data, TensorOutline):
        raise Refused("a parameter in it is no tensor")
    return data


def device(*_: object) -> str:
    """Stands for a device; tensors go to the CPU in any case."""
    return "cpu"


def ordered() -> OrderedDict[Any, Any]:
    """An ordered dict, which is written empty and filled after."""
    return OrderedDict()


ITEM_BYTES = {
    **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2},
    **{"Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1},
}
STAND_INS: dict[str, object] = {
    "collections.OrderedDict": ordered,
    "torch.Size": tuple,
    "torch.device": device,
    "torch._utils._rebuild_tensor": TensorOutline,
    "torch._utils._rebuild_tensor_v2": TensorOutline,
    "torch._utils._rebuild_parameter": parameter,
    **{f"torch.{name}Storage": StorageKind(size) for name, size in ITEM_BYTES.items()},
    **{
        f"torch.{name}": name
        for name in ("float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool")
    },
}


class Outline(pickle._Unpickler):
    """Reads a pickle with stand-ins for tensors; raises Refused for whatever else is to be called.

    In Python, as C's reader makes room for as many values as a file says. storages: bytes of each, by key.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in OPCODES
    }
    stack: list[Any]

    def __init__(self, file: BinaryIO, storages: dict[str, int]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name."""
        if (stand_in := STAND_INS.get(f"{module}.{name}")) is None:
            raise Refused(f"to read it would call {module}.{name}, and reading a pickle can run any code")
        return stand_in

    def persistent_load(self, pid: Any) -> StorageOutline:
        """The outline of a storage: ("storage", kind, key, device, elements[, view])."""
        name, kind, key, _, num, *view = pid
        plain = (
            name == "storage" and isinstance(kind, StorageKind) and type(key) is str and view in ([], [None])
        )
        if not plain or type(num) is not int or num < 0:
            raise Refused("a storage in it is none of plain numbers")
        size = num * kind.item_bytes
        if self.storages.setdefault(key, size) != size:
            raise Refused(f"storage {key} is declared with two sizes")
        return StorageOutline(num)

    def load_build(self) -> None:
        """Attributes are set on ordered dicts alone: there torch keeps its versions."""
        if type(self.stack[-2]) is not OrderedDict:
            raise Refused("it sets attributes of what is no dict")
        super().load_build()  # type: ignore[misc]

    def load_setitem(self) -> None:
        """An entry of a dict."""
        check_keys([self.stack[-2]])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        """Entries of a dict."""
        check_keys(self.stack[::2])
        super().load_setitems()  # type: ignore[misc]

    # the reader finds its methods here, not by name
    own: ClassVar[dict[int, Any]] = {
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }
    dispatch |= own


def check_keys(keys: list[Any]) -> None:
    """Raise Refused for a key that is more than a name or a number: hashing deep tuples ends the process."""
    if not all(key is None or isinstance(key, str | int | float) for key in keys):
        raise Refused("a key of a dict in it is neither a name nor a number")


def read_plain(path: Path) -> Any:
    """What torch.save wrote, tensors on the CPU; raises Refused for all but plain data of the file's size."""
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == ZIP_START
            file.seek(0)
            content = outline_of_zip(file) if zipped else outline_of_legacy(file)
        weigh(content, {})
    except Refused:
        raise
    except OSError as err:
        raise Refused(f"it cannot be read ({err.strerror})") from err
    except Exception as err:
        what = "it is damaged, or no plain file of torch.save"
        raise Refused(f"{what} ({type(err).__name__}); reading a pickle can run any code") from err
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:
        raise Refused(f"torch does not read it ({type(err).__name__})") from err


def outline_of_zip(file: BinaryIO) -> Any:
    """The content of a file of torch.save; its storages are whole members of the archive."""
    with ZipFile(file) as archive:
        members = archive.infolist()
        names = Counter(member.filename.casefold() for member in members)
        if len(names) < len(members):
            raise Refused("two of its parts have one name")
        if any(
            member.compress_type != ZIP_STORED or member.compress_size != member.file_size
            for member in members
        ):
            raise Refused("its parts are compressed, which torch.save never does")
        if sum(member.file_size for member in members) > file.seek(0, 2):
            raise Refused("its parts are larger than the file")
        (pickled,) = (member for member in members if member.filename.rpartition("/")[2] == "data.pkl")
        if pickled.file_size > MAX_PICKLE:
            raise Refused(f"it holds {pickled.file_size} bytes beside its tensors")
        storages: dict[str, int] = {}
        content = Outline(BytesIO(archive.read(pickled)), storages).load()
        folder = pickled.filename.removesuffix("data.pkl") + "data/"
        sizes = {member.filename.removeprefix(folder): member.file_size for member in members}
    for key, size in storages.items():
        if sizes.get(key, 0) != size:
            raise Refused(f"it declares a storage of {size} bytes and holds {sizes.get(key, 0)} of them")
    return content


def outline_of_legacy(file: BinaryIO) -> Any:
    """The content of a file of torch.save before 1.6: pickles one after the other, then the storages."""
    start = BytesIO(file.read(MAX_PICKLE))
    storages: dict[str, int] = {}
    magic, protocol, _, content = (Outline(start, storages).load() for _ in range(4))
    if (magic, protocol) != (MAGIC, PROTOCOL):
        raise Refused("it is no plain file of torch.save")
    keys = Outline(start, {}).load()
    plain = isinstance(keys, list) and all(type(key) is str for key in keys)
    if not plain or set(keys) != set(storages) or len(keys) != len(storages):
        raise Refused("its tensors are not those that it declares")
    place, end = start.tell(), file.seek(0, 2)
    for key in keys:
        file.seek(place)
        num = int.from_bytes(file.read(8), "little", signed=True)
        place += 8 + storages[key]
        if num < 0 or storages[key] not in {num * size for size in ITEM_BYTES.values()} or place > end:
            raise Refused(f"it declares a storage of {storages[key]} bytes and holds fewer")
    return content


def weigh(content: Any, known: dict[int, tuple[int, int] | None], above: int = 0) -> tuple[int, int]:
    """Values in a content, each as often as it stands there, and depth; Refused beyond the two limits.

    What is shared is looked at once, so that a list of twice a list of twice a list … takes no time.
    known: what was looked at, by id; None while that goes on. above: lists and dicts that it stands in.
    """
    if not isinstance(content, Mapping | list | tuple):
        return 1, 0
    if above > MAX_DEPTH or known.get(id(content), (0, 0)) is None:
        raise Refused(f"it holds lists or dicts in each other, more than {MAX_DEPTH} deep")
    found = known.get(id(content))
    if found is None:
        known[id(content)] = None
        inner = content.values() if isinstance(content, Mapping) else content
        parts = [weigh(part, known, above + 1) for part in inner]
        found = 1 + sum(num for num, _ in parts), 1 + max((depth for _, depth in parts), default=0)
        known[id(content)] = found
    num, depth = found
    if num > MAX_VALUES or depth > MAX_DEPTH:
        raise Refused(f"it holds {num} values, in lists or dicts {depth} deep")
    return num, depth


HEAD = "head."
COUNTER = "num_batches_tracked"  # of BatchNorm; it moves nothing here, and not every layout has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Tensors of one file under the names that a Detector gives them: "backbone.…", "head.…".

    made_for: the network that they are of, for messages. input: what is known of the crops that it wants, by
    the names of conf/model (image_size, margin, mean, std). ours: a checkpoint of this project.
    """

    path: Path
    made_for: str
    state: Mapping[str, Tensor]
    input: Mapping[str, Any]
    ours: bool = False


def load_weights(detector: Detector, weights: Weights) -> bool:
    """Put weights into a detector; False if its head stays as it was, because the file has none of its kind.

    Raises UserError naming the first tensor that does not fit, with its shape on both sides.
    """
    wanted = shapes(detector.state_dict())
    given = shapes(weights.state)
    with_head = of_head(wanted) == of_head(given)
    if not with_head:
        for both in (wanted, given):
            for name in of_head(both):
                del both[name]
    if wanted != given:
        raise UserError(
            f"weights={weights.path}: made for {weights.made_for}, which is not this model: "
            f"{first_difference(wanted, given)}; choose model=, model.image_size or model.name to match"
        )
    fitting = {name: weights.state[name] for name in given}
    detector.load_state_dict(fitting, strict=False)  # nothing is missing but counters and such a head
    return with_head


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that a network computes with."""
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith(COUNTER)}


def of_head(names: Mapping[str, Any]) -> set[str]:
    """Those names that belong to the head."""
    return {name for name in names if name.startswith(HEAD)}


def first_difference(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    """The first tensor, in the model's order, that has another shape in the file or is on one side only."""
    for name, shape in wanted.items():
        if name not in given:
            strangers = (name for name in given if name not in wanted and len(given[name]) == len(shape))
            other = next(strangers, None)
            instead = f", which has {other} {given[other]} instead" if other else ""
            return f"its {name} {shape} is not in the file{instead}"
        if given[name] != shape:
            return f"{name} is {shape} in the model and {given[name]} in the file"
    name = next(name for name in given if name not in wanted)
    return f"{name} {given[name]} of the file has no place in it"
