"""Target store: the size of stored crops, and how fast one process reads windows of adjacent frames.

A folder of JPEG files, float32 tensors and the pure decoding of the same JPEGs take turns with the store,
all with the same windows and with their files in the page cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.bench import Bench, BenchmarkResult
from deepfake.data.dataset import cached_faces
from deepfake.data.windows import track_frames, track_windows
from deepfake.errors import SomeFailed, UserError
from deepfake.faces.extract_corpus import extract_corpus
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import VideoFaces, decode_jpeg
from deepfake.parallel.pool import Executor, progress_bar
from deepfake.records import InputSpec, Video

CAPPED_MARGIN = 1.3


def measure(
    bench: Bench,
    *,
    videos: Sequence[Video],
    window: int,
    windows: int,
    repeats: int,
    num_workers: int | None,
) -> BenchmarkResult:
    """The figures store/…, which BENCHMARKS.md explains.

    window: frames a window. windows: read by each side in each round.
    """
    executor = Executor(num_workers=num_workers)
    capped = replace(bench.settings, margin=CAPPED_MARGIN, max_crop_px=TENSOR_PX)
    stores = {
        name: extract_store(bench, name, settings, videos, executor)
        for name, settings in (("store", bench.settings), ("capped", capped))
    }
    store, folder = stores["store"], bench.folder
    for video in videos:
        faces = store.read(video.key)
        write_jpeg_files(folder / "jpegs" / video.key, faces)
        write_tensors(folder / "tensors" / f"{video.key}.npy", faces)
    os.sync()  # blocks are counted when they are on the disk
    crops = {name: num_crops(own, videos) for name, own in stores.items()}
    sizes = {name: file_bytes(own.root) for name, own in stores.items()}
    figures = {
        "store/bytes_ratio": crops["store"] * TENSOR_BYTES / sizes["store"],
        "store/bytes_ratio_capped": crops["capped"] * TENSOR_BYTES / sizes["capped"],
        "store/bytes_over_jpeg_folder": disk_bytes(folder / "jpegs") / disk_bytes(store.root),
        "store/bytes_a_crop": sizes["store"] / crops["store"],
    }
    places = random_windows(store, videos, window=window, count=windows)
    rates = read_rates(store, folder, places, repeats=repeats)
    for name, side in (("decode", "memory"), ("jpeg_folder", "jpegs"), ("tensors", "tensors")):
        pairs = zip(rates["store"], rates[side], strict=True)
        # above 1 the store is faster
        figures[f"store/read_over_{name}"] = median(own / other for own, other in pairs)
    figures["store/windows_per_s"] = median(rates["store"])
    return BenchmarkResult(figures, {"crops": crops, "bytes": sizes, "windows_per_s": rates})


def extract_store(
    bench: Bench, name: str, settings: FaceSettings, videos: Sequence[Video], executor: Executor
) -> FaceStore:
    """A new store of these videos; raises SomeFailed if one cannot be read."""
    store = FaceStore(bench.folder / name, settings)
    rows = extract_corpus(store, videos, executor=executor, device=bench.device, main_face="size").rows
    if lost := [row for row in rows if row["reason"]]:
        raise SomeFailed(f"{lost[0]['path']}: {lost[0]['reason']}; the benchmark needs faces in every video")
    return store


def num_crops(store: FaceStore, videos: Sequence[Video]) -> int:
    """Crops in a store."""
    return sum(len(store.read(video.key).table) for video in videos)


TENSOR_PX = 224
TENSOR_BYTES = TENSOR_PX * TENSOR_PX * 3 * 4


def write_jpeg_files(folder: Path, faces: VideoFaces) -> None:
    """Every stored crop, byte for byte, as <folder>/<row>.jpg."""
    folder.mkdir(parents=True)
    for row, jpeg in enumerate(faces.jpegs(range(len(faces.table)))):
        jpeg_file(folder, row).write_bytes(jpeg)


def jpeg_file(folder: Path, row: int) -> Path:
    """Where write_jpeg_files puts a row's crop."""
    return folder / f"{row:05}.jpg"


def write_tensors(path: Path, faces: VideoFaces) -> None:
    """Every stored crop at TENSOR_PX as one array (R, 3, H, W) float32 in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(faces.table), 3, TENSOR_PX, TENSOR_PX)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for row, jpeg in enumerate(faces.jpegs(range(len(faces.table)))):
        crop = cv2.resize(decode_jpeg(jpeg), (TENSOR_PX, TENSOR_PX), interpolation=cv2.INTER_AREA)
        array[row] = crop.transpose(2, 0, 1).astype(np.float32) / 255
    array.flush()


@lru_cache(maxsize=256)
def tensors(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped and kept open."""
    return np.load(path, mmap_mode="r")


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take on the disk, whole blocks."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def file_bytes(folder: Path) -> int:
    """What the files below a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Place(NamedTuple):
    """A window to read: the video's key and rows of its store file."""

    key: str
    rows: tuple[int, ...]


def random_windows(store: FaceStore, videos: Sequence[Video], *, window: int, count: int) -> list[Place]:
    """Windows of adjacent frames: a random video, of it a random track, of that a random start.

    Raises UserError if some video holds no window of this length.
    """
    held = {video.key: windows_by_track(store.read(video.key), window) for video in videos}
    if lacking := [video.path for video in videos if not held[video.key]]:
        raise UserError(f"{lacking[0]}: no face is seen on window={window} adjacent sampled frames")
    rng = np.random.default_rng(0)
    places = []
    for _ in range(count):
        video = videos[int(rng.integers(len(videos)))]
        track = held[video.key][rng.integers(len(held[video.key]))]
        places.append(Place(video.key, track[rng.integers(len(track))]))
    return places


def windows_by_track(faces: VideoFaces, window: int) -> list[list[tuple[int, ...]]]:
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
