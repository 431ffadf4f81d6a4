import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from deepfake.benchmarks.bench import Bench
from deepfake.benchmarks.extract import measure_memory
from deepfake.benchmarks.films import long_films
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.tasks import benchmark

Composed = Callable[..., DictConfig]
TINY = ("num_films=1", "film_size=[320,240]", "film_frames=24", "repeats=1", "num_workers=1", "device=cpu")
SPEED = {"speedup_over_baseline", "total_speedup", "wall_over_decode"}
RECALL = {"face_recall", "face_recall_any_score"}
STAGES = {f"share_{stage}" for stage in ("scan", "decode", "detect", "crop", "write")}
MEMORY = {"peak_memory_mb", "peak_memory_short_mb", "memory_growth"}
BYTES = {"bytes_ratio", "bytes_ratio_capped", "bytes_over_jpeg_folder", "bytes_a_crop"}
READING = {"read_over_decode", "read_over_jpeg_folder", "read_over_tensors", "windows_per_s"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"films={tmp_path_factory.mktemp('films')}"


def figures_of(run_dir: Path) -> dict[str, float]:
    """benchmark.json, whose values are all finite and positive."""
    figures = json.loads((run_dir / "benchmark.json").read_text())
    assert all(math.isfinite(value) and value > 0 for value in figures.values())
    return figures


def test_extraction_is_measured_and_an_unmeasured_name_is_absent(
    composed: Composed, tmp_path: Path, films: str
) -> None:
    benchmark.main(
        composed("benchmark", "target=extract", "frames=8", "memory=false", films, *TINY), tmp_path
    )
    figures = figures_of(tmp_path)
    assert set(figures) == {f"extract/{name}" for name in SPEED | RECALL | STAGES}
    assert figures["extract/face_recall"] == 1
    details = json.loads((tmp_path / "details.json").read_text())
    assert list(details["videos"]) == ["film/000_film0_320x240_24_v1"]
    assert (details["missed"], details["faces"]) == ([], 8)
    assert {"commit", "cpu", "cores", "torch", "command", "date"} <= set(details["machine"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark.json", "details.json"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_measured_in_processes_of_their_own(tmp_path: Path) -> None:
    films = long_films(folder=str(tmp_path / "films"), size=(160, 120), num_frames=[8, 16], wanted=True)
    bench = Bench(folder=tmp_path, device="cpu", settings=FaceSettings(num_clips=1))
    figures = measure_memory(bench, films)
    assert set(figures) == {f"extract/{name}" for name in MEMORY}
    short, long = figures["extract/peak_memory_short_mb"], figures["extract/peak_memory_mb"]
    assert figures["extract/memory_growth"] == pytest.approx(long / short)
    assert min(short, long) > 50  # Python with torch and a detector


def test_the_store_is_measured(composed: Composed, tmp_path: Path, films: str) -> None:
    small = ("faces.num_clips=2", "windows=3", films)
    benchmark.main(composed("benchmark", "target=store", *small, *TINY), tmp_path)
    assert set(figures_of(tmp_path)) == {f"store/{name}" for name in BYTES | READING}
    assert json.loads((tmp_path / "details.json").read_text())["crops"] == {"store": 16, "capped": 16}


def test_an_unknown_target_is_refused_with_those_that_are_known(composed: Composed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^target=stores: must be one of extract, store$"):
        benchmark.main(composed("benchmark", "target=stores"), tmp_path)
    with pytest.raises(UserError, match="no value for target: add target=…"):
        benchmark.main(composed("benchmark"), tmp_path)


def test_frames_are_whole_clips(composed: Composed, tmp_path: Path, films: str) -> None:
    with pytest.raises(UserError, match=r"frames=9: must be a multiple of faces\.clip_frames=8"):
        benchmark.main(composed("benchmark", "target=extract", "frames=9", films, *TINY), tmp_path)
