"""The files of docs/extending.md, put into a copy of the repository, are all that it takes to train them."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import torch

ROOT = Path(__file__).parents[1]
FILE = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the new files."""
    copy = tmp_path_factory.mktemp("extended")
    for folder in ("conf", "deepfake", "scripts"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILE.findall((ROOT / "docs" / "extending.md").read_text()):
        assert not (copy / name).exists(), f"{name} is edited, not added"
        (copy / name).write_text(text)
    return copy


def call(copy: Path, task: str, *overrides: str) -> str:
    """What a script of the copy prints."""
    env = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = commands.run([str(copy / "scripts" / f"{task}.py"), *overrides], env=env, cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_addition_is_one_file_of_code_and_one_of_config() -> None:
    names = [name for name, _ in FILE.findall((ROOT / "docs" / "extending.md").read_text())]
    kinds = [Path(name).parts[1] for name in names]
    assert kinds == ["corpora", "data", "models", "model", "models", "model", "data", "augment"]
    assert [Path(name).suffix for name in names] == [".py", ".yaml"] * 4


def test_a_new_corpus_backbone_head_and_augmentation_train_and_score(
    extended: Path, quick_video: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "toy"
    videos.mkdir()
    for number, split in enumerate(("train", "val", "test")):
        for kind in ("real", "fake"):
            shutil.copy(quick_video, videos / f"{split}_{number}_{kind}.mp4")
    printed = call(
        extended,
        "train",
        *("model=tiny_peak", "data=toy", f"data.root={videos}", "augment=flip", "trainer=cpu"),
        *("faces.num_clips=1", "faces.detect_every=4", "parallel.num_workers=1", "data.num_workers=0"),
        *("trainer.max_epochs=1", "resamples=0", "hydra.run.dir=run"),
    )
    assert "protocol toy/official" in printed
    with (extended / "run" / "predictions.csv").open(newline="") as file:
        assert [row["video"] for row in csv.DictReader(file)] == ["test_2_fake", "test_2_real"]
    best = extended / "run" / "checkpoints" / "best.ckpt"
    weights = torch.load(best, weights_only=True)["state_dict"]
    assert {name.split(".")[1] for name in weights if name.startswith("detector.")} == {"backbone", "head"}
    assert weights["detector.head.linear.weight"].shape == (1, 8)
    call(extended, "predict", f"checkpoint={best}", f"input={quick_video}", "hydra.run.dir=scored")
    with (extended / "scored" / "predictions.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["ok"]


def test_a_new_corpus_can_be_one_of_several(extended: Path) -> None:
    several = ("data=joint", "+data@data.corpora.toy=toy", "data.corpora.toy.root=/toy")
    printed = call(extended, "train", *several, "--cfg", "job", "--package", "data.corpora.toy")
    assert "root: /toy" in printed
    assert "_target_: deepfake.corpora.toy.toy_corpus" in printed


def test_what_is_added_meets_the_rules_of_the_project(extended: Path) -> None:
    """Lint, format and types of the examples, as .ci/run looks at them."""
    shutil.copy(ROOT / "pyproject.toml", extended)
    added = [name for name, _ in FILE.findall((ROOT / "docs" / "extending.md").read_text())]
    code = [name for name in added if name.endswith(".py")]
    for command in (["check", *code], ["format", "--check", *code]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command],
            cwd=extended,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
