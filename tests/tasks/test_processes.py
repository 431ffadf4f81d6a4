"""Training and scoring by two processes: the same answers as by one."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import commands
import pytest

ROOT = Path(__file__).parents[2]
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")

Script = Callable[..., str]


@pytest.fixture
def script(tiny_demo: tuple[str, ...]) -> Script:
    """What a script prints, run on the tiny demo corpus in a process of its own that ends with status."""

    def run(
        name: str, run_dir: Path, *overrides: str, status: int = 0, launcher: tuple[str, ...] = ()
    ) -> str:
        command = [str(ROOT / "scripts" / f"{name}.py"), *tiny_demo, f"hydra.run.dir={run_dir}", *overrides]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if launcher:
            done = subprocess.run(
                [*launcher, *command], capture_output=True, text=True, env=environment, check=False
            )
        else:
            done = commands.run(command, env=environment)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def metrics(run_dir: Path) -> dict[str, float]:
    found = json.loads((run_dir / "metrics.json").read_text())
    return {name: value for name, value in found.items() if isinstance(value, float)}


def probs(run_dir: Path) -> dict[str, float]:
    with (run_dir / "predictions.csv").open(newline="") as file:
        return {row["video"]: float(row["prob"]) for row in csv.DictReader(file)}


def test_two_processes_train_and_measure_what_one_process_measures(
    script: Script, trained: Path, tmp_path: Path
) -> None:
    # 8 test videos with 3 windows in batches of 5 frames: the last batch of one process is padding
    fast = ("data.windows_per_video=1", "data.eval_windows=3", "faces.num_clips=2", "data.batch_size=5")
    both, one = tmp_path / "both", tmp_path / "one"
    printed = script("train", both, *TWO, *fast, "trainer.max_epochs=1")
    assert printed.count("results in") == printed.count("protocol demo/official") == 1
    assert (both / "checkpoints" / "epoch=000.ckpt").is_file()
    checkpoint = f"checkpoint={both / 'checkpoints' / 'best.ckpt'}"
    for split in ("test", "val"):
        script("evaluate", one / split, checkpoint, "trainer=cpu", f"split={split}")
    assert metrics(both) == pytest.approx(metrics(one / "test"), abs=1e-6)
    assert probs(both) == pytest.approx(probs(one / "test"), abs=1e-6)
    with (both / "logs" / "version_0" / "metrics.csv").open(newline="") as file:
        logged = [row for row in csv.DictReader(file) if row["val/loss"]]
    expected = metrics(one / "val")
    shared = [name for name in expected if name in logged[0]]
    assert {"val/loss", "val/video_auroc", "val/frame_auroc"} <= set(shared)
    assert {name: float(logged[0][name]) for name in shared} == pytest.approx(
        {name: expected[name] for name in shared}, abs=1e-6
    )


def test_two_processes_score_what_one_process_scored(script: Script, trained: Path, tmp_path: Path) -> None:
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}"
    script("evaluate", tmp_path, checkpoint, *TWO, "data.batch_size=5")
    assert metrics(tmp_path) == pytest.approx(metrics(trained), abs=1e-6)
    assert probs(tmp_path) == pytest.approx(probs(trained), abs=1e-6)


def test_a_mistake_is_told_once_and_no_process_is_left_waiting(script: Script, tmp_path: Path) -> None:
    printed = script("train", tmp_path, *TWO, "data.protocol=nonsense", status=2)
    assert len(re.findall(r"error: data\.protocol=nonsense", printed)) == 1
    assert "Traceback" not in printed


@pytest.mark.slow
def test_processes_that_a_launcher_started_write_one_run_folder(
    script: Script, trained: Path, tmp_path: Path
) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2")
    fast = ("data.windows_per_video=1", "data.eval_windows=3", "faces.num_clips=2", "trainer.max_epochs=1")
    script("train", tmp_path / "run", *TWO, *fast, launcher=torchrun)
    assert metrics(tmp_path / "run")["test/coverage"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
