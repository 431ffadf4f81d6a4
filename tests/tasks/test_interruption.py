"""However an extraction is run, disturbed or shared, its store ends as that of an undisturbed one."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import numpy as np
import psutil
import pytest
from omegaconf import DictConfig

from deepfake.reports.runs import read_status
from deepfake.tasks import extract as task

ROOT = Path(__file__).parents[2]
NUM_VIDEOS = 40
FILMS = 4  # different ones, under many names
SMALL = ("faces.num_clips=1", "faces.detect_every=1", "faces.short_side_px=128", "data=folder")

Start = Callable[..., commands.Command]
Files = dict[str, bytes]


def files(store: Path) -> Files:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def videos(face: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small films of a face that moves, as many real as fake."""
    from deepfake.video.write import write_video

    root = tmp_path_factory.mktemp("films")
    for kind in ("real", "fake"):
        (root / kind).mkdir()
    for number in range(NUM_VIDEOS):
        path = root / ("real", "fake")[number % 2] / f"{number:03d}.mp4"
        if number < FILMS:
            frames = [np.roll(face, 4 * frame * (number + 1), axis=1) for frame in range(8)]
            write_video(path, frames, fps=25)
        else:
            first = number % FILMS
            path.write_bytes((root / ("real", "fake")[first % 2] / f"{first:03d}.mp4").read_bytes())
    return root


@pytest.fixture(scope="module")
def whole(
    composed: Callable[..., DictConfig], videos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Files:
    """The files of an undisturbed store, filled by one process."""
    folder = tmp_path_factory.mktemp("whole")
    run_here(composed, videos, folder / "store", folder)
    return files(folder / "store")


def run_here(composed: Callable[..., DictConfig], videos: Path, store: Path, run_dir: Path) -> None:
    """Fill a store in this process."""
    run_dir.mkdir(exist_ok=True)
    one = (f"data.root={videos}", f"data.store={store}", "parallel.num_workers=1")
    task.main(composed("extract", *SMALL, *one), run_dir)


@pytest.fixture
def go_on(composed: Callable[..., DictConfig], videos: Path, tmp_path: Path) -> Callable[[Path], None]:
    """Run the same extraction again, in this process."""
    return lambda store: run_here(composed, videos, store, tmp_path / "again")


@pytest.fixture
def extract(videos: Path, tmp_path: Path) -> Iterator[Start]:
    """Start extracting into a store, as a process group of its own, which ends with the test."""
    started: list[commands.Command] = []

    def start(store: Path, *overrides: str, workers: int = 2) -> commands.Command:
        command = [
            *(str(ROOT / "scripts" / "extract.py"), *SMALL, f"data.root={videos}"),
            *(f"data.store={store}", f"parallel.num_workers={workers}"),
            *(f"hydra.run.dir={tmp_path / f'run{len(started)}'}", *overrides),
        ]
        started.append(
            commands.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finished(process: commands.Command, status: int = 0) -> str:
    """What it printed, once it ended with this status."""
    printed, _ = process.communicate()
    assert process.returncode == status, printed
    return printed


def wait_for(store: Path, count: int, process: commands.Command) -> int:
    """Wait until the store holds so many videos; how many it then holds."""
    while (found := len(list(store.rglob("*.arrow")))) < count:
        assert process.poll() is None, f"extraction ended early: {process.communicate()[0]}"
        time.sleep(0.005)
    return found


def num_extracted(printed: str) -> int:
    """Videos that a run says it extracted itself."""
    found = re.search(r"extracted (\d+) videos into", printed)
    return int(found[1]) if found else 0


def assert_gone(processes: list[psutil.Process]) -> None:
    """Of these processes none is left within a minute."""
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(
    "ending",
    [(signal.SIGTERM, 143, "interrupted"), (signal.SIGKILL, -9, "killed")],
    ids=["SIGTERM", "SIGKILL"],
)
def test_an_extraction_that_a_signal_ends_leaves_whole_files_and_goes_on_to_the_same_store(
    extract: Start,
    whole: Files,
    go_on: Callable[[Path], None],
    tmp_path: Path,
    ending: tuple[signal.Signals, int, str],
) -> None:
    sent, status, ended = ending
    store = tmp_path / "store"
    process = extract(store)
    wait_for(store, 3, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(sent)  # to the main process alone, as docker stop and a plain kill do
    printed = finished(process, status)
    assert_gone(below)
    left = {name: data for name, data in files(store).items() if name.endswith(".arrow")}
    assert 3 <= len(left) < NUM_VIDEOS
    assert left.items() <= whole.items()
    assert read_status(tmp_path / "run0").status == ended
    if sent == signal.SIGTERM:
        assert printed.splitlines()[-1].endswith("run the same command again to go on")
        assert "Traceback" not in printed
    go_on(store)
    assert files(store) == whole


def test_what_is_finished_is_not_done_again(
    whole: Files, go_on: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, kept = tmp_path / "store", sorted(name for name in whole if name.endswith(".arrow"))[:5]
    for name in kept:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(whole[name])
    before = {name: (store / name).stat().st_mtime_ns for name in kept}
    with caplog.at_level("INFO"):
        go_on(store)
    assert f"reusing the faces of {len(kept)} videos" in caplog.text
    assert num_extracted(caplog.text) == NUM_VIDEOS - len(kept)
    assert files(store) == whole
    assert {name: (store / name).stat().st_mtime_ns for name in kept} == before


@pytest.mark.slow
def test_twenty_kills_at_random_times_change_nothing(extract: Start, whole: Files, tmp_path: Path) -> None:
    store, rng = tmp_path / "store", random.Random(0)
    kept = []
    for number in range(20):
        process = extract(store, workers=rng.choice([1, 2]))
        # once work has begun, so that most kills hit it; at most one more video than the last time
        kept.append(wait_for(store, number // 2, process))
        time.sleep(rng.uniform(0, 6 if number % 4 == 0 else 0.3))
        # the workers too, or only the main process, and they are left to notice
        (os.killpg if number % 2 == 0 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
    assert kept == sorted(kept)
    finished(extract(store))
    assert files(store) == whole


def test_two_extractions_share_one_store_and_no_video_is_done_twice(
    extract: Start, whole: Files, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    both = extract(store, workers=1), extract(store, workers=1)
    done = [num_extracted(finished(process)) for process in both]
    assert sum(done) == NUM_VIDEOS
    assert files(store) == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_with_a_message_and_a_store_that_resumes(
    extract: Start, whole: Files, go_on: Callable[[Path], None], small_disk: Path
) -> None:
    store = small_disk / "store"
    printed = finished(extract(store), status=1)
    assert (
        len(re.findall(rf"no space left on the disk of \S+ after \d+ of {NUM_VIDEOS} videos", printed)) == 1
    )
    assert "Traceback" not in printed
    left = (".deepfake-lock", ".deepfake-part")  # of a worker that was killed in the midst of its own video
    kept = {name: data for name, data in files(store).items() if not name.endswith(left)}
    assert 0 < len(kept) < NUM_VIDEOS
    assert kept.items() <= whole.items()
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    go_on(store)
    assert files(store) == whole


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """The address of a scheduler and its two workers, all started elsewhere, as on other machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", address, "--dashboard-address", ":0"], start_new_session=True, **quiet
    )
    workers = [
        subprocess.Popen(
            [*dask, "worker", address, "--nthreads", "1", "--dashboard-address", ":0"],
            start_new_session=True,
            **quiet,
        )
        for _ in range(2)
    ]
    yield address, workers
    for process in (scheduler, *workers):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# tests/parallel/test_cluster.py has a cluster lose a worker in the quick tests
@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_makes_the_same_store(
    extract: Start, whole: Files, cluster: tuple[str, list["subprocess.Popen[bytes]"]], tmp_path: Path
) -> None:
    address, workers = cluster
    store = tmp_path / "store"
    process = extract(store, "parallel=cluster", f"parallel.address={address}")
    wait_for(store, 4, process)
    os.killpg(workers[0].pid, signal.SIGKILL)
    # it may have been killed between writing a video and saying so: whoever tries it next finds it done
    assert num_extracted(finished(process)) in (NUM_VIDEOS - 1, NUM_VIDEOS)
    assert files(store) == whole
