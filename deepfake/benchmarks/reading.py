"""How fast one process reads random windows of adjacent frames: from the store and from what else there is.

Pure JPEG decoding of the same bytes, a folder of JPEG files and float32 tensors take turns with the store,
all with the same windows and with their files in the page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from deepfake.benchmarks.alternatives import TENSOR_PX, jpeg_file, tensors
from deepfake.data.dataset import cached_faces
from deepfake.data.windows import track_frames, track_windows
from deepfake.errors import UserError
from deepfake.faces.crop import decode_jpeg
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel import progress_bar
from deepfake.records import InputSpec, Video


class Place(NamedTuple):
    """A window to read: the video's key and rows of its store file."""

    key: str
    rows: tuple[int, ...]


def random_places(store: FaceStore, videos: Sequence[Video], *, window: int, count: int) -> list[Place]:
    """Windows of adjacent frames: a random video, of it a random track, of that a random start.

    Raises UserError if some video holds no window of this length.
    """
    held = {video.key: windows_held(store.read(video.key), window) for video in videos}
    if lacking := [video.path for video in videos if not held[video.key]]:
        raise UserError(f"{lacking[0]}: no face is seen on window={window} adjacent sampled frames")
    rng = np.random.default_rng(0)
    places = []
    for _ in range(count):
        video = videos[int(rng.integers(len(videos)))]
        track = held[video.key][rng.integers(len(held[video.key]))]
        places.append(Place(video.key, track[rng.integers(len(track))]))
    return places


def windows_held(faces: VideoFaces, window: int) -> list[list[tuple[int, ...]]]:
    """Of each track that has any, the rows of all its windows of adjacent frames."""
    spec = InputSpec(size=TENSOR_PX, margin=1, mean=(0, 0, 0), std=(1, 1, 1), window=window)
    held = []
    for track in track_frames(faces):
        found = track_windows(track, spec, hop=1)
        if len(set(found[0])) == window:  # else the track is too short, and its last frame is repeated
            held.append([tuple(track.rows[list(places)].tolist()) for places in found])
    return held


def read_rates(
    store: FaceStore, folder: Path, places: Sequence[Place], *, repeats: int
) -> dict[str, list[float]]:
    """Windows a second of each side in each round; sides take turns, a first round is not counted."""
    in_memory = [store.read(place.key).jpegs(place.rows) for place in places]

    def from_store(index: int) -> list[np.ndarray]:
        path = store.path_of(places[index].key)
        faces = cached_faces(path, path.stat().st_mtime_ns)
        return [decode_jpeg(jpeg) for jpeg in faces.jpegs(places[index].rows)]

    def from_memory(index: int) -> list[np.ndarray]:
        return [decode_jpeg(jpeg) for jpeg in in_memory[index]]

    def from_jpegs(index: int) -> list[np.ndarray]:
        files = folder / "jpegs" / places[index].key
        return [decode_jpeg(jpeg_file(files, row).read_bytes()) for row in places[index].rows]

    def from_tensors(index: int) -> np.ndarray:
        return np.array(tensors(folder / "tensors" / f"{places[index].key}.npy")[list(places[index].rows)])

    sides: dict[str, Callable[[int], object]] = {
        "store": from_store,
        "memory": from_memory,
        "jpegs": from_jpegs,
        "tensors": from_tensors,
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with progress_bar() as progress:
        task = progress.add_task("reading windows", total=repeats + 1)
        for _ in range(repeats + 1):
            for name, read in sides.items():
                start = perf_counter()
                for index in range(len(places)):
                    read(index)
                rates[name].append(len(places) / (perf_counter() - start))
            progress.advance(task)
    return {name: own[1:] for name, own in rates.items()}
