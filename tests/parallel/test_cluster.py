"""Every place where work is done gives the same results; a Dask cluster may lose workers or its scheduler."""

import json
import logging
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake.errors import UserError
from deepfake.parallel import cluster as dask_cluster
from deepfake.parallel.pool import Executor
from tests.parallel.test_pool import (
    ROOT,
    TWO,
    answers,
    faults_of_big_blocks,
    inverse,
    kill_at_3_and_7,
    pid,
    runs,
    sleep_and_note,
    threads_of_opencv,
)


class Cluster:
    """A scheduler and workers as a user would start them."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.note, self.processes = folder / "scheduler.json", []
        self.scheduler = self.start("scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard", **env)
        while not self.note.is_file() or not self.note.read_text().endswith("}"):
            time.sleep(0.02)
        self.executor = Executor(address=json.loads(self.note.read_text())["address"])

    def start(self, what: str, *options: str, python: tuple[str, ...] = (), **env: str) -> int:
        command = (sys.executable, *python, "-m", f"distributed.cli.dask_{what}", *options)
        process = subprocess.Popen(
            [*command, f"--scheduler-file={self.note}"],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
            cwd=self.note.parent,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process.pid

    def start_worker(self, *options: str, **more: Any) -> int:
        return self.start("worker", "--nthreads=1", "--no-dashboard", *options, **more)

    def close(self) -> None:
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start_worker("--nworkers=2")
    while len(set(answers(cluster.executor, pid, [1, 2]).values())) < 2:
        pass
    yield cluster
    cluster.close()


def test_all_places_give_the_same_results(two_workers: Cluster) -> None:
    items = list(range(10))
    expected = {0: "ZeroDivisionError: division by zero"} | {item: 1 / item for item in items[1:]}
    for executor in (Executor(num_workers=0), Executor(num_workers=1), TWO, two_workers.executor):
        assert answers(executor, inverse, items) == expected
        assert answers(executor, inverse, []) == {}


def test_workers_keep_freed_memory_and_use_one_thread_of_opencv(two_workers: Cluster) -> None:
    import cv2  # noqa: F401  # as a module of a function would

    for executor in (TWO, two_workers.executor):
        faults = answers(executor, faults_of_big_blocks, list(range(4)))
        assert max(faults.values()) < 3 * 2048  # of the first blocks; handed back each time it is 50 × 2048
        assert set(answers(executor, threads_of_opencv, list(range(8))).values()) >= {1}


def test_what_a_generator_leaves_when_closed_early_is_a_cluster_at_rest(two_workers: Cluster) -> None:
    before = set(answers(two_workers.executor, pid, list(range(8))).values())
    outcomes = two_workers.executor.map_unordered(pid, range(1000))
    assert next(outcomes).result in before
    outcomes.close()
    assert set(answers(two_workers.executor, pid, list(range(8))).values()) == before


def test_an_item_that_kills_workers_of_a_cluster_costs_itself_only(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    cluster.start_worker("--nworkers=2")
    try:
        found = answers(cluster.executor, kill_at_3_and_7, [(tmp_path, item) for item in range(12)])
    finally:
        cluster.close()
    died = {item for (_, item), result in found.items() if str(result).startswith("WorkerDied: ")}
    assert died == {3, 7}
    assert set(found.values()) >= set(range(12)) - died


def test_a_lost_machine_costs_no_item(cluster: Cluster) -> None:
    folder = cluster.note.parent
    lost = cluster.start_worker("--nworkers=2")
    outcomes = cluster.executor.map_unordered(sleep_and_note, [(folder, item) for item in range(12)])
    done = [next(outcomes).result for _ in range(3)]
    cluster.start_worker("--nworkers=2")
    os.killpg(lost, signal.SIGKILL)
    not_read = runs(folder).total() - len(done)  # that ran on the lost machine
    done += [outcome.result for outcome in outcomes]
    assert sorted(done) == list(range(12))
    assert set(runs(folder)) == set(range(12))
    assert runs(folder).total() <= 12 + not_read


def test_a_cluster_without_workers_is_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dask_cluster, "PATIENCE_S", 0.1)
    starting = threading.Timer(0.5, cluster.start_worker)
    starting.start()
    with caplog.at_level(logging.WARNING, "deepfake"):
        assert answers(cluster.executor, inverse, [1, 2]) == {1: 1.0, 2: 0.5}
    address = cluster.executor.address
    assert caplog.messages == [
        f"waiting for workers: `dask worker {address} --nthreads 1 --nworkers N` starts some"
    ]


def test_a_scheduler_that_vanishes_is_one_clear_error(cluster: Cluster) -> None:
    cluster.start_worker()
    outcomes = cluster.executor.map_unordered(pid, range(1000))
    next(outcomes)
    os.kill(cluster.scheduler, signal.SIGKILL)
    with pytest.raises(UserError, match=f"lost the Dask scheduler at {cluster.executor.address}"):
        list(outcomes)


def test_a_wrong_address_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfake.parallel.cluster.CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense://here"):
        with pytest.raises(UserError, match=f"parallel.address={address}: .*`dask worker {address} "):
            list(Executor(address=address).map_unordered(inverse, [1]))


def test_a_worker_without_this_package_is_named(cluster: Cluster) -> None:
    site = sysconfig.get_paths()["purelib"]  # without the link to this checkout that site adds
    cluster.start_worker("--no-nanny", python=("-S",), PYTHONPATH=site)
    with pytest.raises(UserError, match=r"worker tcp://127.* differs .*No module named 'deepfake'"):
        list(cluster.executor.map_unordered(inverse, [1, 2]))


def test_a_worker_with_another_version_is_named(
    two_workers: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = (*dask_cluster.versions(), ("torch", "1.0"))
    monkeypatch.setattr(dask_cluster, "versions", lambda: versions)
    with pytest.raises(UserError, match=r"worker tcp://127.* differs .*it has torch \d.*, not 1\.0\)"):
        list(two_workers.executor.map_unordered(inverse, [1, 2]))
