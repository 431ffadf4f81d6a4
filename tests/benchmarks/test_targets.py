import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from benchmarks import run as benchmark
from benchmarks.bench import Bench
from benchmarks.extract import measure_memory
from benchmarks.films import long_films
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings

Composed = Callable[..., DictConfig]
TINY = ("num_films=1", "film_size=[320,240]", "film_frames=24", "repeats=1", "num_workers=1", "device=cpu")
SMALL_DETECTORS = tuple(
    f"models.{name}.image_size=32" for name in ("meso", "meso_lstm", "efficientnet", "efficientnet_lstm")
)
SPEED = {"speedup_over_baseline", "total_speedup", "wall_over_decode"}
RECALL = {"face_recall", "face_recall_any_score"}
STAGES = {f"share_{stage}" for stage in ("scan", "decode", "detect", "follow", "crop", "write")}
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
    bench = Bench(run_dir=tmp_path, folder=tmp_path, device="cpu", settings=FaceSettings(num_clips=1))
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


def test_dense_windows_are_measured_and_score_as_naive_ones_do(
    composed: Composed, tmp_path: Path, films: str
) -> None:
    small = ("track_frames=20", "naive_windows=3", "models.meso_lstm.window=16", *SMALL_DETECTORS, films)
    benchmark.main(composed("benchmark", "target=windows", *small, *TINY), tmp_path)
    figures = json.loads((tmp_path / "benchmark.json").read_text())
    names = {"dense_over_frames", "naive_over_dense", "max_difference"}
    assert set(figures) == {
        f"windows/{name}{suffix}" for name in names for suffix in ("", "_efficientnet_lstm")
    }
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())
    details = json.loads((tmp_path / "details.json").read_text())
    for name, suffix in (("meso_lstm", ""), ("efficientnet_lstm", "_efficientnet_lstm")):
        own = details[name]
        assert (own["frames"], own["windows"]) == (20, {"dense": 5, "naive": 3})
        assert own["logits"]["max"] - own["logits"]["min"] > 1e-3  # else they would be alike by chance
        assert figures[f"windows/max_difference{suffix}"] <= 1e-5
        (dense,), (frames,), (naive,) = (own["seconds"][side] for side in ("dense", "frames", "naive"))
        assert figures[f"windows/dense_over_frames{suffix}"] == pytest.approx(dense / frames)
        assert figures[f"windows/naive_over_dense{suffix}"] == pytest.approx(naive / 3 / (dense / 5))


def test_a_track_shorter_than_a_window_is_refused(composed: Composed, tmp_path: Path, films: str) -> None:
    with pytest.raises(UserError, match="track_frames=8"):
        benchmark.main(composed("benchmark", "target=windows", "track_frames=8", films, *TINY), tmp_path)


@pytest.mark.slow
def test_training_is_measured_beside_a_bare_loop(composed: Composed, tmp_path: Path, films: str) -> None:
    small = ("num_films=2", "faces.num_clips=2", "batches=3", "batch_size=2", *SMALL_DETECTORS, films)
    benchmark.main(composed("benchmark", "target=train", *TINY, *small), tmp_path)
    figures = figures_of(tmp_path)
    assert set(figures) == {"train/throughput_over_bare_loop"}
    details = json.loads((tmp_path / "details.json").read_text())
    assert set(details["in_memory"]) == {"meso", "efficientnet"}
    seconds = details["meso"]["seconds_an_epoch"]
    assert figures["train/throughput_over_bare_loop"] == pytest.approx(
        seconds["other"][0] / seconds["ours"][0]
    )


def test_training_needs_two_videos(composed: Composed, tmp_path: Path, films: str) -> None:
    with pytest.raises(UserError, match="num_films=1"):
        benchmark.main(composed("benchmark", "target=train", films, *TINY), tmp_path)


def test_an_unknown_or_missing_target_is_named(composed: Composed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="target=stores"):
        benchmark.main(composed("benchmark", "target=stores"), tmp_path)
    with pytest.raises(UserError, match="target=…"):
        benchmark.main(composed("benchmark"), tmp_path)


def test_frames_are_whole_clips(composed: Composed, tmp_path: Path, films: str) -> None:
    with pytest.raises(UserError, match=r"frames=9.*faces\.clip_frames=8"):
        benchmark.main(composed("benchmark", "target=extract", "frames=9", films, *TINY), tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_measuring_many_scores_is_measured(composed: Composed, tmp_path: Path) -> None:
    small = ("score_videos=200", "score_frames=5", "resamples=50", "repeats=1", "device=cpu")
    benchmark.main(composed("benchmark", "target=metrics", *small), tmp_path)
    figures = figures_of(tmp_path)
    names = {"seconds", "peak_memory_mb", "speedup_over_torchmetrics"}
    assert set(figures) == {f"metrics/{name}" for name in names}
    details = json.loads((tmp_path / "details.json").read_text())
    assert (details["frames"], details["videos"], details["coverage"]) == (1000, 200, 1.0)
    assert details["video_auroc_low"] < details["video_auroc"] < details["video_auroc_high"]


def test_prediction_is_measured_beside_the_usual_script_with_the_same_network(
    composed: Composed, tmp_path: Path, films: str
) -> None:
    small = ("target=predict", "frames=6", "quick.num_clips=1", SMALL_DETECTORS[0], films)
    benchmark.main(composed("benchmark", *small, *TINY), tmp_path)
    figures = figures_of(tmp_path)
    names = {
        "speedup_over_baseline",
        "speedup_one_process",
        "videos_per_minute",
        "baseline_videos_per_minute",
    }
    assert set(figures) == {f"predict/{name}" for name in names}
    details = json.loads((tmp_path / "details.json").read_text())
    assert (details["network"], details["workers"], details["faces"]["num_clips"]) == ("Meso4", 1, 1)
    (own,) = details["videos"].values()
    assert figures["predict/speedup_over_baseline"] == pytest.approx(own["baseline_s"] / own["ours_s"])
    assert figures["predict/speedup_one_process"] == pytest.approx(own["baseline_s"] / own["alone_s"])
    assert figures["predict/videos_per_minute"] == pytest.approx(60 / own["ours_s"])
    assert details["largest_prob_difference"] == pytest.approx(abs(own["baseline_prob"] - own["ours_prob"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark.json", "details.json"]
