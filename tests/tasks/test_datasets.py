"""Small playable copies of the datasets, under their official names, through every job."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from playable_datasets import make_datasets

from deepfake.errors import UserError
from deepfake.tasks import audit, evaluate, extract, train
from deepfake.training.checkpoint import read_detector

Composed = Callable[..., DictConfig]
FAST = (
    "trainer=cpu",
    "trainer.max_epochs=1",
    "data.windows_per_video=1",
    "data.num_workers=0",
    "data.batch_size=8",
)
SHORT = ("faces.num_clips=1", "faces.min_face_px=64")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("roots")
    make_datasets(root)
    return root


def of(roots: Path, name: str, store: Path) -> list[str]:
    """Overrides that choose a dataset."""
    roots_of = {
        "celebdf": [f"data.root={roots / 'celebdf'}"],
        "ffpp": [f"data.root={roots / 'ffpp'}", "data.methods=[Deepfakes,NeuralTextures]"],
        "deeperforensics": [f"data.root={roots / 'dfo'}", f"data.ffpp_root={roots / 'ffpp'}"],
    }
    return [f"data={name}", *roots_of[name], f"data.store={store / name}"]


def read(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


EXPECTED = {
    # test videos real + fake, all videos
    "celebdf": ("celebdf_v2/official", 3 + 2, 18),
    "ffpp": ("ffpp_c23/official", 2 + 4, 18),
    "deeperforensics": ("deeperforensics/official", 2 + 2, 12),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_dataset_is_audited_extracted_trained_on_and_evaluated(
    composed: Composed, roots: Path, stores: Path, tmp_path: Path, name: str
) -> None:
    protocol, num_test, num = EXPECTED[name]
    chosen = of(roots, name, stores)
    run_of = {task: tmp_path / task for task in ("audit", "extract", "train", "evaluate")}
    for folder in run_of.values():
        folder.mkdir()
    audit.main(composed("audit", *chosen), run_of["audit"])
    about = read(run_of["audit"] / "audit.json")
    assert about["protocol"] == protocol
    extract.main(composed("extract", *chosen, *SHORT), run_of["extract"])
    assert read(run_of["extract"] / "summary.json")["videos"] == num
    train.main(composed("train", *chosen, *SHORT, *FAST), run_of["train"])
    checkpoint = run_of["train"] / "checkpoints" / "best.ckpt"
    evaluate.main(
        # other batches would move the last bits
        composed("evaluate", f"checkpoint={checkpoint}", *chosen, "trainer=cpu", *FAST[-2:]),
        run_of["evaluate"],
    )
    _, settings = read_detector(checkpoint)
    assert settings.protocol is not None
    assert (settings.protocol["name"], settings.protocol["hash"]) == (protocol, about["protocol_hash"])
    for task in ("train", "evaluate"):
        metrics = read(run_of[task] / "metrics.json")
        assert (metrics["protocol"], metrics["protocol_hash"]) == (protocol, about["protocol_hash"])
        assert (metrics["test/videos"], metrics["test/coverage"]) == (num_test, 1.0)
    for file in ("metrics.json", "predictions.csv"):
        assert (run_of["train"] / file).read_bytes() == (run_of["evaluate"] / file).read_bytes()
    with (run_of["train"] / "protocol.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == num
    assert (run_of["train"] / "leaks.json").read_bytes() == (run_of["audit"] / "leaks.json").read_bytes()


def test_the_mask_of_a_fake_is_found_and_decides(
    composed: Composed, roots: Path, stores: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    extract.main(composed("extract", *of(roots, "ffpp", stores), *SHORT), tmp_path)
    rows = {row["video"]: row for row in pq.read_table(stores / "ffpp" / "manifest.parquet").to_pylist()}
    masked = rows["Deepfakes/c23/000_001"]
    assert (masked["main"], masked["main_by"]) == (0, "mask")
    assert masked["tracks"][0]["share"] > 0.2
    assert rows["NeuralTextures/c23/000_001"]["main_by"] == "size"


def test_a_detector_tested_on_footage_it_was_trained_on_is_caught_across_datasets(
    composed: Composed, roots: Path, stores: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "train"
    run_dir.mkdir()
    train.main(composed("train", *of(roots, "ffpp", stores), *SHORT, *FAST), run_dir)
    cross = [
        f"checkpoint={run_dir / 'checkpoints' / 'best.ckpt'}",
        *of(roots, "deeperforensics", stores),
        *("trainer=cpu", "data.num_workers=0", "data.on_leak=error"),
    ]
    # the official test fakes of DeeperForensics stand on targets that train FaceForensics++
    with pytest.raises(UserError, match=r"test in the training by ffpp_c23/official: .*data\.protocol=ffpp"):
        evaluate.main(composed("evaluate", *cross), tmp_path)
    leaks = read(tmp_path / "leaks.json")["overlaps"]["test in the training by ffpp_c23/official"]
    assert leaks["target_clips"]["shared"] == leaks["target_clips"]["of"] == 2  # type: ignore[index]
    evaluate.main(composed("evaluate", *cross, "data.protocol=ffpp"), tmp_path)
    metrics = read(tmp_path / "metrics.json")
    assert (metrics["protocol"], metrics["test/videos"]) == ("deeperforensics/ffpp", 4)


def test_joint_training_takes_every_corpus_from_its_own_store_and_shared_files_once(
    composed: Composed, roots: Path, stores: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ffpp", "deeperforensics"):
        extract.main(composed("extract", *of(roots, name, stores), *SHORT), tmp_path)
    caplog.set_level("INFO")
    cfg = composed(
        "train",
        *("data=joint", f"data.store={stores / 'joint'}", *SHORT, *FAST),
        f"data.corpora.ffpp.root={roots / 'ffpp'}",
        "data.corpora.ffpp.methods=[Deepfakes,NeuralTextures]",
        f"data.corpora.ffpp.store={stores / 'ffpp'}",
        f"data.corpora.deeperforensics.root={roots / 'dfo'}",
        f"data.corpora.deeperforensics.store={stores / 'deeperforensics'}",
    )
    train.main(cfg, tmp_path)
    assert "6 videos of deeperforensics are files of another corpus" in caplog.text
    assert "reusing the faces of 24 videos" in caplog.text
    assert not list((stores / "joint").rglob("*.arrow"))
    assert read(tmp_path / "metrics.json")["protocol"] == "ffpp_c23/official + deeperforensics/ffpp"
    with (tmp_path / "predictions.csv").open(newline="") as file:
        methods = {row["video"]: row["method"] for row in csv.DictReader(file)}
    assert methods == {
        "deeperforensics/end_to_end/004_M102": "deeperforensics:end_to_end",
        "deeperforensics/end_to_end/005_M102": "deeperforensics:end_to_end",
        **{f"ffpp/Deepfakes/c23/{fake}": "ffpp:Deepfakes" for fake in ("004_005", "005_004")},
        **{f"ffpp/NeuralTextures/c23/{fake}": "ffpp:NeuralTextures" for fake in ("004_005", "005_004")},
        **{f"ffpp/youtube/c23/00{number}": "real" for number in (4, 5)},
    }


def test_joint_without_any_root_says_how_to_name_them(composed: Composed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.corpora\.ffpp\.root=/path; there are demo, ffpp, celebdf"):
        audit.main(composed("audit", "data=joint"), tmp_path)


def test_a_resumed_run_with_another_split_is_refused(
    composed: Composed, roots: Path, stores: Path, tmp_path: Path
) -> None:
    chosen = [*of(roots, "celebdf", stores), *SHORT, *FAST]
    train.main(composed("train", *chosen), tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"trained by protocol celebdf_v2/official .* give celebdf_v2/strict"):
        train.main(composed("train", *chosen, f"resume='{last}'", "data.protocol=strict"), tmp_path)
