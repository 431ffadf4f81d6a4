"""A training, an evaluation or a prediction that is ended leaves whole files, says how, and how to go on."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import commands
import psutil
import pytest
import torch
from omegaconf import DictConfig

from deepfake.errors import Stopped
from deepfake.reports.runs import KILLED, RUNNING, Status, read_status, this_process
from deepfake.signals import RUN_AGAIN, ReceivedSignal, explain_early_end, handle_signals
from deepfake.tasks import evaluate, train

ROOT = Path(__file__).parents[2]
Composed = Callable[..., DictConfig]
TINY = ("trainer=cpu", "model.image_size=32", "data.windows_per_video=2", "data.eval_windows=1")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
Started = Callable[..., commands.Command]


@pytest.fixture
def started() -> Iterator[Started]:
    """Start a script as a process group of its own, which ends with the test."""
    processes: list[commands.Command] = []

    def start(name: str, *overrides: str) -> commands.Command:
        process = commands.start(
            [str(ROOT / "scripts" / f"{name}.py"), *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(path: Path, process: commands.Command) -> None:
    """Until a file is there."""
    while not path.is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def ended(process: commands.Command, sent: signal.Signals, *, group: bool = False) -> str:
    """What a process printed that a signal ended; all that it had started is gone."""
    below = psutil.Process(process.pid).children(recursive=True)
    (os.killpg if group else os.kill)(process.pid, sent)
    printed = process.communicate(timeout=120)[0]
    _, alive = psutil.wait_procs(below, timeout=60)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    return printed


def last_loss(run_dir: Path) -> float:
    """Of training, of the last step that the CSV logger has."""
    with (run_dir / "logs" / "version_0" / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss_step"]) for row in csv.DictReader(file) if row["train/loss_step"]][-1]


def checkpoints(run_dir: Path) -> list[str]:
    """The names of all that lies among the checkpoints, each of which can be read."""
    found = sorted(path for path in (run_dir / "checkpoints").iterdir())
    for path in found:
        torch.load(path, weights_only=True)
    return [path.name for path in found]


LONG = (*TINY, "data.windows_per_video=60", "data.batch_size=4", "trainer.max_epochs=1000")


def test_a_training_that_sigterm_ends_says_how_to_resume(
    started: Started, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    given = (*tiny_demo, *LONG, "data.num_workers=1", "faces.num_clips=2", f"hydra.run.dir={run_dir}")
    process = started("train", *given)
    wait_for(run_dir / "checkpoints" / "last.ckpt", process)
    printed = ended(process, signal.SIGTERM)  # to the main process alone, as docker stop sends it
    assert process.returncode == 143
    last = run_dir / "checkpoints" / "last.ckpt"
    assert printed.splitlines()[-1].startswith("interrupted: the same command with resume=")
    assert f"resume={last} " in printed.splitlines()[-1]
    assert "Traceback" not in printed
    status = read_status(run_dir)
    assert (status.status, status.error) == ("interrupted", "by SIGTERM")
    assert {"best.ckpt", "last.ckpt"} < set(checkpoints(run_dir))
    assert last_loss(run_dir) > 0


def test_a_prediction_that_sigterm_ends_reports_what_is_done_and_says_how_to_resume(
    started: Started, quick_checkpoint: Path, quick_video: Path, tmp_path: Path
) -> None:
    folder, run_dir = tmp_path / "in", tmp_path / "run"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:03d}.mp4").hardlink_to(quick_video)
    one = ("parallel.num_workers=1", "pages=false", f"hydra.run.dir={run_dir}")
    process = started("predict", f"checkpoint={quick_checkpoint}", f"input={folder}", *one)
    wait_for(run_dir / "records.jsonl", process)
    printed = ended(process, signal.SIGTERM)
    assert process.returncode == 143
    line = printed.splitlines()[-1]
    assert line.startswith("interrupted: ")
    assert line.endswith(f"resume=true hydra.run.dir={run_dir} does the others")
    assert read_status(run_dir).status == "interrupted"
    answer = json.loads((run_dir / "predictions.json").read_text())
    assert 1 <= len(answer["files"]) < 200
    assert not answer["complete"]
    assert not list(run_dir.glob("faces_*"))


@pytest.mark.slow
@pytest.mark.parametrize("how", product(SIGNALS, (1, 2), (False, True)), ids=str)
def test_a_training_ends_with_all_its_processes(
    started: Started,
    tiny_demo: tuple[str, ...],
    trained: Path,
    tmp_path: Path,
    how: tuple[signal.Signals, int, bool],
) -> None:
    sent, devices, group = how
    run_dir = tmp_path / "run"
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2") if devices == 2 else ()
    given = (*tiny_demo, *LONG, *two, "data.num_workers=1", "faces.num_clips=2", f"hydra.run.dir={run_dir}")
    process = started("train", *given)
    wait_for(run_dir / "checkpoints" / "last.ckpt", process)
    printed = ended(process, sent, group=group)
    if sent == signal.SIGKILL:
        assert read_status(run_dir).status == KILLED
    else:
        assert process.returncode == 128 + sent, printed
        assert "resume=" in printed.splitlines()[-1]
        assert printed.count("interrupted: ") == 1
        assert read_status(run_dir).error == f"by {sent.name}"
        assert last_loss(run_dir) > 0


@pytest.mark.slow
def test_an_evaluation_that_sigterm_ends_says_what_to_do(
    started: Started, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    store = f"data.store={tmp_path / 'store'}"  # with nothing in it, so that there is much to do
    best = f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}"
    process = started("evaluate", best, *tiny_demo, store, "trainer=cpu", f"hydra.run.dir={tmp_path / 'run'}")
    while not list(tmp_path.rglob("*.arrow")):
        assert process.poll() is None
        time.sleep(0.01)
    printed = ended(process, signal.SIGTERM)
    assert process.returncode == 143
    assert printed.splitlines()[-1] == f"interrupted: {RUN_AGAIN}"
    assert read_status(tmp_path / "run").status == "interrupted"
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, *, leave_kb: int) -> None:
    """Take all room on a disk but so much."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with (disk / "filler").open("ab") as file:
        file.write(bytes(free - leave_kb * 1024))


def test_a_training_on_a_full_disk_keeps_whole_checkpoints_and_resumes(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, small_disk: Path
) -> None:
    run_dir = small_disk / "run"
    run_dir.mkdir()
    # each epoch keeps a checkpoint of nearly 200 KB
    given = (*tiny_demo, *TINY, "faces.num_clips=2", "trainer.max_epochs=8", "resamples=0")
    with pytest.raises(Stopped, match=r"resume=\S+/last\.ckpt "):
        train.main(composed("train", *given), run_dir)
    assert "last.ckpt" in checkpoints(run_dir)
    assert not (run_dir / "metrics.json").exists()
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    train.main(composed("train", *given, f"resume='{run_dir}/checkpoints/last.ckpt'"), run_dir)
    assert "epoch=007.ckpt" in checkpoints(run_dir)
    assert (run_dir / "metrics.json").is_file()


def test_an_evaluation_on_a_full_disk_leaves_no_half_file(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, small_disk: Path
) -> None:
    run_dir = small_disk / "run"
    run_dir.mkdir()
    best = f"checkpoint='{trained}/checkpoints/best.ckpt'"
    cfg = composed("evaluate", best, "trainer=cpu", "resamples=0", *tiny_demo)
    Status(status=RUNNING, process=this_process()).write(run_dir)
    fill(small_disk, leave_kb=48)
    with (
        pytest.raises(Stopped, match=f"no space left on the disk of {run_dir}: make room; {RUN_AGAIN}"),
        explain_early_end(run_dir),
    ):
        evaluate.main(cfg, run_dir)
    fill(small_disk, leave_kb=0)
    Status(status="failed", error="no space left").write(run_dir)
    assert read_status(run_dir) == Status(status="failed", error="no space left")
    left = {path.name for path in run_dir.rglob("*") if path.is_file()}
    assert not [name for name in left if name.endswith(".deepfake-part")]
    assert "report.html" not in left


def test_a_running_job_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    own = this_process()
    other = subprocess.Popen([sys.executable, "-c", ""])
    other.wait()
    told_by = {
        RUNNING: [own, {**own, "host": "elsewhere", "pid": other.pid}],
        KILLED: [{**own, "pid": other.pid}, {**own, "started": own["started"] - 60}],
    }
    for status, processes in told_by.items():
        for process in processes:
            Status(status=RUNNING, process=process).write(tmp_path)
            assert read_status(tmp_path).status == status


def test_a_signal_interrupts_once_unless_somebody_else_sees_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReceivedSignal, "number", None)
    with handle_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert (ReceivedSignal.exit_status(), ReceivedSignal.name()) == (143, "SIGTERM")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with handle_signals():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize("ending", [SystemExit(1), KeyboardInterrupt()])
def test_however_a_library_ends_an_interrupted_job_it_is_told_as_such(ending: BaseException) -> None:
    with pytest.raises(KeyboardInterrupt, match="do this"), explain_early_end(Path("run"), lambda: "do this"):
        raise ending


def test_what_follows_from_a_signal_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReceivedSignal, "number", signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), explain_early_end(Path("run")):
        raise RuntimeError("DataLoader worker is killed by signal: Terminated")


def test_a_full_disk_behind_another_error_is_found() -> None:
    err = RuntimeError("could not save")
    err.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(Stopped, match="no space left on the disk of run"), explain_early_end(Path("run")):
        raise err
