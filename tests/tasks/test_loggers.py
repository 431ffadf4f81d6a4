"""What W&B and TensorBoard were told, read back and compared with the files of the run."""

import csv
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
import torch
import yaml
from omegaconf import DictConfig
from PIL import Image

from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.reports.matrix import COLUMNS, Matrix, write_matrix
from deepfake.tasks import train
from deepfake.training.loggers import make_logger, publish_matrix

Composed = Callable[..., DictConfig]
SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
FAST = ("trainer=cpu", "data.windows_per_video=1", "data.eval_windows=3", "faces.num_clips=2")
SMALL = ("model.image_size=32", "data.batch_size=4")
OFFLINE = ("logger=wandb", "logger.wandb.offline=true")
EPOCHS = 2


class Trap:
    """A server that is W&B's and every proxy for a process, and hangs up on whoever calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            connection, _ = self.server.accept()
            connection.settimeout(5)
            self.calls.append(connection.recv(200).decode(errors="replace").partition("\r")[0])
            connection.close()

    def environment(self, home: Path) -> dict[str, str]:
        """Variables of a process that nobody has logged in for."""
        url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), url)
        return kept | proxies | {"HOME": str(home), "WANDB_BASE_URL": url, "WANDB_INIT_TIMEOUT": "5"}


@pytest.fixture(scope="module")
def trap() -> Trap:
    return Trap()


@pytest.fixture(scope="module")
def script(
    tiny_demo: tuple[str, ...], trained: Path, trap: Trap, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run scripts/train.py on the tiny demo corpus, apart from this machine's network and login."""
    environment = trap.environment(tmp_path_factory.mktemp("home"))

    def run(*overrides: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return commands.run([str(SCRIPT), *overrides, *tiny_demo, *FAST, *SMALL], env=environment | variables)

    return run


@pytest.fixture(scope="module")
def tracked_run(
    script: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run that was tracked offline."""
    run_dir = tmp_path_factory.mktemp("tracked")
    done = script(
        *OFFLINE, "logger.wandb.tags=[a,b]", f"trainer.max_epochs={EPOCHS}", f"hydra.run.dir={run_dir}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return run_dir


class Told:
    """What lies in the .wandb file of a folder offline-run-…"""

    def __init__(self, folder: Path) -> None:
        (file,) = folder.glob("*.wandb")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        records = [json.loads(line) for line in lines]
        self.folder = folder
        self.parts = [(record["type"], record[record["type"]]) for record in records]
        self.run = self.of("run")[0]
        self.exit_codes = [part["exit_code"] for part in self.of("exit")]
        self.items = [part["item"] for part in self.of("history")]
        self.summary: dict[str, Any] = {}
        for part in self.of("summary"):
            self.summary |= part["update"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [part for name, part in self.parts if name == kind]

    def scalars(self) -> list[dict[str, float]]:
        """The rows of numbers, without W&B's own columns."""
        rows = [{k: v for k, v in item.items() if not k.startswith("_")} for item in self.items]
        return [row for row in rows if not any(name.endswith("._type") for name in row)]

    def shown(self) -> dict[str, Path]:
        """Files of pictures, tables and charts, by name."""
        return {
            name.removesuffix(".path"): self.folder / "files" / value
            for item in self.items
            for name, value in item.items()
            if name.endswith(".path")
        }


def told(run_dir: Path) -> list[Told]:
    return [Told(folder) for folder in sorted(run_dir.glob("wandb/offline-run-*"))]


def logged(run_dir: Path, version: int = 0) -> list[dict[str, Any]]:
    """The rows of the CSV without what is empty; what is undefined as W&B writes it."""
    with (run_dir / "logs" / f"version_{version}" / "metrics.csv").open(newline="") as file:
        return [
            {name: "NaN" if v == "nan" else float(v) for name, v in row.items() if v}
            for row in csv.DictReader(file)
        ]


def predictions(run_dir: Path) -> list[list[Any]]:
    numbers = {"label": int, "tracks": int, "frames": int, "prob": lambda text: float(text) if text else None}
    with (run_dir / "predictions.csv").open(newline="") as file:
        return [[numbers.get(name, str)(v) for name, v in row.items()] for row in csv.DictReader(file)]


def store_of(tiny_demo: tuple[str, ...]) -> FaceStore:
    return FaceStore(Path(tiny_demo[1].partition("=")[2]), FaceSettings())


def test_the_run_is_told_its_config_name_and_tags_and_ends_well(tracked_run: Path) -> None:
    (run,) = told(tracked_run)
    config: dict[str, Any] = {}
    for part in run.of("config"):
        config |= {name: value for name, value in part["update"].items() if not name.startswith("_wandb")}
    assert config == yaml.safe_load((tracked_run / "config.yaml").read_text())
    assert run.run["display_name"] == tracked_run.name
    assert run.run["tags"] == ["a", "b"]
    assert "run_group" not in run.run
    assert run.exit_codes == [0]


def test_the_history_is_row_by_row_that_of_the_csv(tracked_run: Path) -> None:
    (run,) = told(tracked_run)
    expected = [{"trainer/global_step": row.pop("step"), **row} for row in logged(tracked_run)]
    assert run.scalars() == expected
    names = set().union(*expected)
    assert names >= {"train/loss", "train/loss_step", "val/loss", "val/video_auroc", "test/frame_ap", "epoch"}
    assert names >= {"train/windows_per_s", "train/frames_per_s"}


def test_the_learning_rate_of_every_parameter_group_is_there_at_every_step(tracked_run: Path) -> None:
    (run,) = told(tracked_run)
    for group in ("lr/all_weights", "lr/all_norms_and_biases"):
        rates = {item["trainer/global_step"]: item[group] for item in run.scalars() if group in item}
        steps = len(rates)
        last = torch.load(tracked_run / "checkpoints" / "last.ckpt", weights_only=True)
        assert steps == last["global_step"]
        cosine = {step: 1e-3 * 0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)}
        assert rates == pytest.approx(cosine, abs=1e-15)


def test_the_summary_is_metrics_json_and_the_best_value(tracked_run: Path) -> None:
    (run,) = told(tracked_run)
    metrics = json.loads((tracked_run / "metrics.json").read_text())
    assert {name: run.summary[name] for name in metrics} == metrics
    best = min(row["val/loss"] for row in logged(tracked_run) if "val/loss" in row)
    assert run.summary["best/val/loss"] == best


def test_plots_and_curves_are_shown(tracked_run: Path) -> None:
    (run,) = told(tracked_run)
    names = {path.stem for path in tracked_run.glob("plots/*.png")}
    assert names >= {"roc", "pr", "reliability", "confusion", "scores", "methods", "faces", "history"}
    curves = {"curves/roc_table", "curves/pr_table"}
    assert set(run.shown()) == {f"plots/{name}" for name in names} | curves | {"test/predictions"}
    for name in names:
        drawn = (tracked_run / "plots" / f"{name}.png").read_bytes()
        assert run.shown()[f"plots/{name}"].read_bytes() == drawn


def test_the_table_is_predictions_csv_with_a_face_a_video(tracked_run: Path) -> None:
    (run,) = told(tracked_run)
    (files,) = [
        {entry["path"]: Path(entry["local_path"]) for entry in part["manifest"]["contents"]}
        for part in run.of("artifact")
        if "testpredictions" in part["name"]
    ]
    # W&B shows the artifact; the other file says "Image" in place of each
    table = json.loads(files["test/predictions.table.json"].read_text())
    columns = ["face", "video", "label", "prob", "verdict", "method", "tracks", "frames", "reason"]
    assert table["columns"] == columns
    assert [row[1:] for row in table["data"]] == predictions(tracked_run)
    for row in table["data"]:
        waiting = files[row[0]["path"]]
        assert waiting.is_relative_to(tracked_run)
        with Image.open(waiting) as face:
            assert face.size == (96, 96)


def test_a_video_without_a_face_is_a_row_too(
    tracked_run: Path, tiny_demo: tuple[str, ...], tmp_path: Path, composed: Composed
) -> None:
    shutil.copytree(tracked_run / "plots", tmp_path / "plots")
    shutil.copy(tracked_run / "metrics.json", tmp_path)
    lines = (tracked_run / "predictions.csv").read_text().splitlines()
    lines[1] = f"{lines[1].split(',')[0]},1,,undetermined,blend,0,0,no face found"
    (tmp_path / "predictions.csv").write_text("\n".join(lines) + "\n")
    settings = composed("train", *OFFLINE).logger.wandb
    logger = make_logger("wandb", settings, tmp_path, resume=False)
    logger.start()
    logger.publish(tmp_path, store_of(tiny_demo), step=0)
    logger.experiment.finish()
    (run,) = told(tmp_path)
    table = json.loads(run.shown()["test/predictions"].read_text())
    assert table["data"][0] == [None, *predictions(tmp_path)[0]]
    assert table["data"][0][3] is None


def test_offline_nothing_is_called_and_online_w_and_b_that_is_out_of_reach_is_one_message(
    tracked_run: Path, script: Callable[..., subprocess.CompletedProcess[str]], trap: Trap, tmp_path: Path
) -> None:
    assert trap.calls == []
    done = script("logger=wandb", f"hydra.run.dir={tmp_path}", WANDB_API_KEY="0" * 40)
    assert trap.calls
    assert done.returncode == 2
    assert (done.stdout + done.stderr).count("add logger.wandb.offline=true") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "protocol.csv").exists()


def test_without_a_login_the_job_ends_before_extraction_and_says_what_to_do(
    script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = script("logger=wandb", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 2
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error:")]
    assert line == (
        "error: logger=wandb: no user is logged in to Weights & Biases; "
        "add logger.wandb.offline=true, or run `wandb login` first"
    )
    assert not (tmp_path / "protocol.csv").exists()


def test_the_jobs_of_a_sweep_are_runs_of_one_group_also_after_one_that_failed(
    script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    sweep = (
        "-m",
        "data.protocol=nonsense,official",
        "trainer.max_epochs=1",
        f"hydra.sweep.dir={tmp_path}/sweep",
    )
    done = script(*sweep, "logger=wandb", WANDB_MODE="offline")
    assert done.returncode == 2
    failed, good = (run for job in sorted(tmp_path.glob("sweep/*/")) for run in told(job))
    assert failed.run["run_group"] == good.run["run_group"] == "sweep"
    assert failed.run["run_id"] != good.run["run_id"]
    assert (failed.exit_codes, good.exit_codes) == ([1], [0])
    assert "data.protocol=nonsense" in failed.run["display_name"]
    assert "data.protocol=official" in good.run["display_name"]
    assert (failed.items, "test/video_auroc" in good.summary) == ([], True)


def test_a_resumed_training_goes_on_under_its_id(
    composed: Composed, tiny_demo: tuple[str, ...], tracked_run: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(tracked_run, run_dir, symlinks=True)
    resume = f"resume='{run_dir}/checkpoints/last.ckpt'"
    more = (*OFFLINE, resume, f"trainer.max_epochs={EPOCHS + 1}")
    train.main(composed("train", *tiny_demo, *FAST, *SMALL, *more), run_dir)
    first, second = told(run_dir)
    assert first.run["run_id"] == second.run["run_id"]
    assert second.run["resume"] is True
    assert second.scalars() == [
        {"trainer/global_step": row.pop("step"), **row} for row in logged(run_dir, version=1)
    ]
    last_step = max(row["trainer/global_step"] for row in first.scalars())
    assert second.items[0]["trainer/global_step"] == last_step


def test_artifacts_are_the_checkpoint_and_the_protocol_if_wanted(
    tracked_run: Path, tiny_demo: tuple[str, ...], tmp_path: Path, composed: Composed
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(tracked_run, run_dir, ignore=shutil.ignore_patterns("wandb"))
    settings = composed("train", *OFFLINE, "logger.wandb.artifacts=true").logger.wandb
    logger = make_logger("wandb", settings, run_dir, resume=False)
    logger.start()
    logger.publish(run_dir, store_of(tiny_demo), step=0)
    logger.experiment.finish()

    def kinds(run: Told) -> dict[str, list[str]]:
        parts = [part for part in run.of("artifact") if part["type"] != "run_table"]
        return {part["type"]: [file["path"] for file in part["manifest"]["contents"]] for part in parts}

    (plain,), (full,) = told(tracked_run), told(run_dir)
    assert kinds(plain) == {}
    assert kinds(full) == {"model": ["best.ckpt"], "protocol": ["leaks.json", "protocol.csv"]}


def test_the_matrix_of_a_sweep_is_a_run_of_its_own_in_the_sweep_s_group(
    tmp_path: Path, composed: Composed
) -> None:
    folder = tmp_path / "sweep_1"
    folder.mkdir()
    cell = dict.fromkeys(COLUMNS) | {"status": "done", "video_auroc": 0.75, "run": "0"}
    matrix = Matrix({("a", "b"): cell})
    write_matrix(matrix, folder)
    publish_matrix(composed("train", *OFFLINE).logger.wandb, folder, matrix)
    (run,) = told(folder)
    assert (run.run["display_name"], run.run["run_group"]) == ("matrix", "sweep_1")
    assert set(run.shown()) == {"matrix", "matrix/cells"}
    assert run.shown()["matrix"].read_bytes() == (folder / "matrix.png").read_bytes()
    assert run.exit_codes == [0]


@pytest.fixture(scope="module")
def board(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """The folder of a run with TensorBoard, and what TensorBoard reads there."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_dir = tmp_path_factory.mktemp("board")
    train.main(
        composed("train", *tiny_demo, *FAST, *SMALL, "logger=tensorboard", "trainer.max_epochs=1"), run_dir
    )
    events = EventAccumulator(str(run_dir / "tensorboard" / "version_0"), size_guidance={"scalars": 0})
    return run_dir, events.Reload()


def test_tensorboard_has_the_scalars_of_the_csv(board: tuple[Path, Any]) -> None:
    run_dir, events = board
    expected: dict[str, list[tuple[int, Any]]] = {}
    for row in logged(run_dir):
        step = int(row.pop("step"))
        for name, value in row.items():
            expected.setdefault(name, []).append(
                (step, value if value == "NaN" else float(np.float32(value)))
            )
    found = {
        name: [(e.step, "NaN" if isnan(e.value) else e.value) for e in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    assert found == expected


def test_tensorboard_has_the_plots_and_the_config(board: tuple[Path, Any]) -> None:
    run_dir, events = board
    assert set(events.Tags()["images"]) == {f"plots/{path.stem}" for path in run_dir.glob("plots/*.png")}
    (text,) = events.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert yaml.safe_load(shown.removeprefix("```yaml\n").removesuffix("```")) == yaml.safe_load(
        (run_dir / "config.yaml").read_text()
    )


@pytest.mark.parametrize("arguments", [("--help",), ("logger=csv", "trainer=debug")])
def test_wandb_is_not_imported_unless_it_is_wanted(
    tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command = ["train.py", *arguments, *tiny_demo, *SMALL, "faces.num_clips=2", f"hydra.run.dir={tmp_path}"]
    code = (
        f"import runpy, sys; sys.argv = {command}\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "finally: print('imported:', 'wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: False"


@pytest.mark.slow
def test_of_two_processes_one_is_tracked(
    script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1")
    done = script(*two, *OFFLINE, f"hydra.run.dir={tmp_path}", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = told(tmp_path)
    assert run.exit_codes == [0]
    assert run.scalars() == [{"trainer/global_step": row.pop("step"), **row} for row in logged(tmp_path)]
