"""What a worker process of this machine does, and how results travel from it."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import threading
from collections.abc import Callable
from functools import cache
from multiprocessing import connection as pipes
from multiprocessing import current_process, parent_process
from multiprocessing.connection import Connection
from typing import Any

from deepfake.parallel.outcome import Failure
from deepfake.parallel.worker import called, keep_freed_memory, set_threads

READY = b"ready"
BIG_BYTES = 1 << 16  # buffers from here on travel beside the pickle, uncopied


def serve(connection: Connection, function: bytes, num_threads: int) -> None:
    """Do item after item until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    current_process().daemon = False  # an item may start processes
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # of what crashes a decoder nobody wants gigabytes
    keep_freed_memory()
    try:
        connection.send_bytes(READY)
        while True:
            item = connection.recv_bytes()
            set_threads(num_threads)  # of what the last item has imported too
            send(connection, answered(function, item))
            del item
    except (EOFError, OSError):
        pass


def answered(function: bytes, item: bytes) -> Any:
    """function(item) or its Failure, both unpickled here."""
    try:
        call = loaded(function)
    except Exception as err:
        return Failure(err)
    return called(call, item)


@cache
def loaded(function: bytes) -> Callable[[Any], Any]:
    """A function, unpickled."""
    return pickle.loads(function)


def end_with_parent() -> None:
    """End this process as soon as its parent has ended, whatever it is at."""
    parent = parent_process()
    assert parent is not None
    pipes.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def send(connection: Connection, result: Any) -> None:
    """Send a result, or a Failure that says why it cannot travel, for received()."""
    try:
        data, big = packed_apart(result)
    except Exception as err:
        data, big = packed_apart(Failure(err))
    if isinstance(result, Failure):
        try:
            pickle.loads(data)
        except Exception:  # of an exception that cannot travel
            data, big = packed_apart(Failure(RuntimeError(result.reason)))
    connection.send_bytes(pickle.dumps([buffer.nbytes for buffer in big]))
    connection.send_bytes(data)
    for buffer in big:
        left = buffer
        while left:
            left = left[os.write(connection.fileno(), left) :]


def packed_apart(result: Any) -> tuple[bytes, list[memoryview]]:
    """A pickle, and the big buffers that belong to it."""
    import cloudpickle

    big: list[memoryview] = []

    def within(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < BIG_BYTES:
            return True
        big.append(raw)
        return False

    return cloudpickle.dumps(result, protocol=5, buffer_callback=within), big


def received(connection: Connection) -> Any:
    """What send() sent, or the Failure to understand it; raises EOFError if the other end is gone."""
    sizes: list[int] = pickle.loads(connection.recv_bytes())
    data = connection.recv_bytes()
    big = [read_exactly(connection, size) for size in sizes]
    try:
        return pickle.loads(data, buffers=big)
    except Exception as err:
        return Failure(err)


def read_exactly(connection: Connection, size: int) -> bytearray:
    """So many bytes."""
    buffer = bytearray(size)
    left = memoryview(buffer)
    while left:
        count = os.readv(connection.fileno(), [left])
        if not count:
            raise EOFError
        left = left[count:]
    return buffer
