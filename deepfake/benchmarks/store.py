"""Target store: what stored crops take on the disk, and how fast windows of them are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from deepfake.benchmarks.alternatives import (
    TENSOR_BYTES,
    TENSOR_PX,
    disk_bytes,
    file_bytes,
    write_jpeg_files,
    write_tensors,
)
from deepfake.benchmarks.bench import Bench, Measured
from deepfake.benchmarks.reading import random_places, read_rates
from deepfake.errors import SomeFailed
from deepfake.faces.fill import fill_store
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.parallel import Executor
from deepfake.records import Video

CAPPED_MARGIN = 1.3


def measure(
    bench: Bench,
    *,
    videos: Sequence[Video],
    window: int,
    windows: int,
    repeats: int,
    num_workers: int | None,
) -> Measured:
    """The figures store/…, which BENCHMARKS.md explains.

    window: frames a window. windows: read by each side in each round.
    """
    executor = Executor(num_workers=num_workers)
    capped = replace(bench.settings, margin=CAPPED_MARGIN, max_crop_px=TENSOR_PX)
    stores = {
        name: filled(bench, name, settings, videos, executor)
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
    places = random_places(store, videos, window=window, count=windows)
    rates = read_rates(store, folder, places, repeats=repeats)
    for name, side in (("decode", "memory"), ("jpeg_folder", "jpegs"), ("tensors", "tensors")):
        pairs = zip(rates["store"], rates[side], strict=True)
        # above 1 the store is faster
        figures[f"store/read_over_{name}"] = median(own / other for own, other in pairs)
    figures["store/windows_per_s"] = median(rates["store"])
    return Measured(figures, {"crops": crops, "bytes": sizes, "windows_per_s": rates})


def filled(
    bench: Bench, name: str, settings: FaceSettings, videos: Sequence[Video], executor: Executor
) -> FaceStore:
    """A new store of these videos; raises SomeFailed if one cannot be read."""
    store = FaceStore(bench.folder / name, settings)
    rows = fill_store(store, videos, executor=executor, device=bench.device, main_face="size").rows
    if lost := [row for row in rows if row["reason"]]:
        raise SomeFailed(f"{lost[0]['path']}: {lost[0]['reason']}; the benchmark needs faces in every video")
    return store


def num_crops(store: FaceStore, videos: Sequence[Video]) -> int:
    """Crops in a store."""
    return sum(len(store.read(video.key).table) for video in videos)
