"""The least that looking at a whole video costs: every frame decoded to RGB, in order, in one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from deepfake.errors import DecodeError
from deepfake.video.decode import decord_can
from deepfake.video.probe import open_video, scan


def decode_by_decord(path: Path) -> int:
    """Decode all frames to arrays; returns how many there were."""
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    for _ in range(len(reader)):
        reader.next().asnumpy()
    return len(reader)


def decode_by_pyav(path: Path) -> int:
    """Decode all frames to arrays; returns how many there were."""
    container, stream = open_video(path)
    with container:
        return sum(frame.to_ndarray(format="rgb24").ndim == 3 for frame in container.decode(stream))


READERS: dict[str, Callable[[Path], int]] = {"decord": decode_by_decord, "pyav": decode_by_pyav}


def fastest_reader(path: Path) -> str:
    """The name in READERS of the one that decodes this video faster, here and now, of those that can at all.

    Raises DecodeError if none can.
    """
    seconds = {}
    for name, decode in READERS.items():
        if name != "decord" or decord_can(scan(path)):
            start = perf_counter()
            if not decode(path):
                raise DecodeError(f"{path}: no frame in it")
            seconds[name] = perf_counter() - start
    return min(seconds, key=seconds.__getitem__)
