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

import pytest

ROOT = Path(__file__).parents[2]
NUM_VIDEOS = 24


def files(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tiny_demo: tuple[str, ...], trained: Path) -> dict[str, bytes]:
    """The files of an undisturbed store, filled by several processes."""
    return files(Path(tiny_demo[1].partition("=")[2]))


@pytest.fixture
def extract(tiny_demo: tuple[str, ...], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start extracting the tiny demo corpus into a store, as a process group of its own."""

    def start(store: Path, *overrides: str) -> subprocess.Popen[str]:
        command = [
            *(sys.executable, str(ROOT / "scripts" / "extract.py"), tiny_demo[0], f"data.store={store}"),
            *("data.num_identities=6", "faces.num_clips=2", "parallel.num_workers=2"),
            *(f"hydra.run.dir={tmp_path / f'run{time.monotonic_ns()}'}", *overrides),
        ]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    return start


def finished(process: subprocess.Popen[str], status: int = 0) -> str:
    """What it printed, once it ended with this status."""
    printed, _ = process.communicate()
    assert process.returncode == status, printed
    return printed


def kill(process: subprocess.Popen[str], *, workers: bool = True) -> None:
    """End the main process at once, and its workers too unless they are left to notice."""
    (os.killpg if workers else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(store: Path, count: int, process: subprocess.Popen[str]) -> int:
    """Wait until the store holds so many videos; how many it then holds."""
    while (found := len(list(store.rglob("*.arrow")))) < count:
        assert process.poll() is None, f"extraction ended early: {process.communicate()[0]}"
        time.sleep(0.02)
    return found


def num_extracted(printed: str) -> int:
    """Videos that a run says it extracted itself."""
    found = re.search(r"extracted (\d+) videos into", printed)
    return int(found[1]) if found else 0


Start = Callable[..., "subprocess.Popen[str]"]


def test_a_killed_extraction_resumes_to_the_same_store_and_a_third_run_does_nothing(
    extract: Start, whole: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = extract(store)
    wait_for(store, 4, first)
    kill(first)
    left = len(list(store.rglob("*.arrow")))
    assert 4 <= left < NUM_VIDEOS
    printed = finished(extract(store))
    assert f"reusing the faces of {left} videos" in printed
    assert num_extracted(printed) == NUM_VIDEOS - left
    assert files(store) == whole
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.arrow")}
    assert f"reusing the faces of {NUM_VIDEOS} videos" in finished(extract(store))
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.arrow")} == before


@pytest.mark.slow
def test_twenty_kills_at_random_times_change_nothing(
    extract: Start, whole: dict[str, bytes], tmp_path: Path
) -> None:
    store, rng = tmp_path / "store", random.Random(0)
    kept = []
    for number in range(20):
        process = extract(store, f"parallel.num_workers={rng.choice([1, 2])}")
        # once work has begun, so that most kills hit it; at most one more video than the last time
        kept.append(wait_for(store, number // 2, process))
        time.sleep(rng.uniform(0, 6 if number % 4 == 0 else 0.3))
        kill(process, workers=number % 2 == 0)
    assert kept == sorted(kept)
    finished(extract(store))
    assert files(store) == whole


def test_two_extractions_share_one_store_and_no_video_is_done_twice(
    extract: Start, whole: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    both = extract(store), extract(store)
    done = [num_extracted(finished(process)) for process in both]
    assert sum(done) == NUM_VIDEOS
    assert files(store) == whole


def test_one_process_makes_the_same_store(extract: Start, whole: dict[str, bytes], tmp_path: Path) -> None:
    finished(extract(tmp_path / "store", "parallel.num_workers=1"))
    assert files(tmp_path / "store") == whole


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


def test_a_full_disk_ends_with_a_message_and_a_store_that_resumes(
    extract: Start, whole: dict[str, bytes], small_disk: Path
) -> None:
    store = small_disk / "store"
    printed = finished(extract(store), status=1)
    assert len(re.findall(r"no space left on the disk of \S+ after \d+ of 24 videos", printed)) == 1
    assert "Traceback" not in printed
    kept = files(store)
    assert 0 < len(kept) < NUM_VIDEOS
    assert kept.items() <= whole.items()
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert num_extracted(finished(extract(store))) == NUM_VIDEOS - len(kept)
    assert files(store) == whole


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
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


def test_a_cluster_that_loses_a_worker_makes_the_same_store(
    extract: Start,
    whole: dict[str, bytes],
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
    tmp_path: Path,
) -> None:
    address, workers = cluster
    store = tmp_path / "store"
    process = extract(store, "parallel=cluster", f"parallel.address={address}")
    wait_for(store, 4, process)
    os.killpg(workers[0].pid, signal.SIGKILL)
    # it may have been killed between writing a video and saying so: whoever tries it next finds it done
    assert num_extracted(finished(process)) in (NUM_VIDEOS - 1, NUM_VIDEOS)
    assert files(store) == whole
