"""What happens in a worker process: it is checked and made fit once, then works on item after item."""

from __future__ import annotations

import ctypes
import pickle
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from deepfake.errors import UserError
from deepfake.parallel.outcome import Failure

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for reuse; without glibc this does nothing.

    It otherwise returns every big array to the system and faults it in anew: face detection took twice as
    long in a Dask worker, which asks glibc to trim eagerly, and Meso-4 at batch 32 trained half as fast.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def packed(thing: object) -> bytes:
    """A thing as bytes, functions of a script or notebook too."""
    from distributed.protocol import pickle

    return pickle.dumps(thing)


def unpacked(answer: bytes | Failure) -> Any:
    """What run_item returned; a Failure if it cannot be understood here."""
    try:
        return answer if isinstance(answer, Failure) else pickle.loads(answer)
    except Exception as err:
        return Failure(err)


@dataclass(frozen=True, slots=True)
class Errand:
    """Becomes run_item(function, item, versions) where it is unpickled."""

    function: bytes
    item: bytes
    versions: tuple[tuple[str, str], ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return run_item, (self.function, self.item, self.versions)


def run_item(function: bytes, item: bytes, versions: tuple[tuple[str, str], ...]) -> bytes:
    """What a worker of a cluster does: function(item) or its Failure, pickled. Raises only if it is unfit."""
    prepare_process(versions)
    call = pickle.loads(function)
    set_threads(1)
    result = called(call, item)
    try:
        answer = packed(result)
        if isinstance(result, Failure):
            pickle.loads(answer)
    except Exception as err:  # of what cannot travel
        why = RuntimeError(result.reason) if isinstance(result, Failure) else err
        answer = packed(Failure(why))
    return answer


def called(function: Callable[[Any], Any], item: bytes) -> Any:
    """function(item), which is unpickled here, or the Failure it ended in."""
    try:
        return function(pickle.loads(item))
    except Exception as err:
        return Failure(err)


def set_threads(num_threads: int) -> None:
    """Let libraries that have been imported use so many threads."""
    for module, set_them in ("cv2", "setNumThreads"), ("torch", "set_num_threads"):
        if module in sys.modules:
            getattr(sys.modules[module], set_them)(num_threads)


@cache
def prepare_process(wanted: tuple[tuple[str, str], ...]) -> None:
    """Check a worker process against the versions it must have, and make it fit for work in big arrays."""
    from distributed import get_worker

    own = dict(versions())
    if other := [
        f"{name} {own.get(name)}, not {version}" for name, version in wanted if own.get(name) != version
    ]:
        raise UserError("it has " + ", ".join(other))
    memory = get_worker().memory_manager
    # a worker that pauses for lack of memory may never wake, and we would wait for it
    memory.memory_pause_fraction = memory.memory_spill_fraction = False
    keep_freed_memory()


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """What must be the same in a worker: what talks over the wire, and what decides the pixels of a crop."""
    names = "deepfake distributed numpy torch facenet-pytorch opencv-python-headless av decord".split()
    found = [("python", ".".join(platform.python_version_tuple()[:2]))]
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name).partition("+")[0]))  # with or without +cu130
    return tuple(found)
