import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deepfake.errors import UserError
from deepfake.parallel.pool import (
    Failure,
    MemoryLimitReached,
    TimeLimitReached,
    WorkerDied,
    WorkerProcess,
    report_progress,
)

GB = 10**9


def make() -> Callable[[Any], Any]:
    made_in = os.getpid()

    def do(item: tuple[str, Any]) -> Any:
        kind, value = item
        if kind == "return":
            report_progress("half way", 0.5)
            return value, made_in
        if kind == "sleep":
            time.sleep(value)
        if kind == "grow":
            hoard = bytearray(b"x") * value
            time.sleep(60)
            return len(hoard)
        if kind == "crash":
            os.abort()
        raise UserError(value)

    return do


def make_nothing() -> Callable[[Any], Any]:
    raise UserError("checkpoint=none.ckpt: no such file")


def make_and_die() -> Callable[[Any], Any]:
    os._exit(3)


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    worker = WorkerProcess(make, memory_limit=64 * GB)
    yield worker
    worker.close()


def process_of(worker: WorkerProcess) -> int:
    return int(worker.run(("return", None))[1])


def test_it_does_item_after_item_in_another_process_and_reports_progress(worker: WorkerProcess) -> None:
    reported: list[tuple[Any, ...]] = []
    result, process = worker.run(("return", [1, "two"]), lambda *values: reported.append(values))
    assert (result, reported) == ([1, "two"], [("half way", 0.5)])
    assert process != os.getpid()
    assert worker.run(("return", 2)) == (2, process)


def test_what_the_function_raises_is_a_failure_and_the_process_stays(worker: WorkerProcess) -> None:
    before = process_of(worker)
    failure = worker.run(("raise", "too long"))
    assert isinstance(failure, Failure)
    assert failure.reason == "UserError: too long"
    assert process_of(worker) == before


def test_after_a_crash_there_is_a_new_process(worker: WorkerProcess) -> None:
    before = process_of(worker)
    with pytest.raises(WorkerDied, match="SIGABRT"):
        worker.run(("crash", None))
    assert process_of(worker) != before


def test_an_item_that_takes_too_long_or_too_much_memory_is_ended() -> None:
    worker = WorkerProcess(make, memory_limit=2 * GB, time_limit_s=2, keys="own.")
    try:
        start = time.monotonic()
        with pytest.raises(TimeLimitReached, match=r"longer than 2 s .*own\.time_limit_s"):
            worker.run(("sleep", 60))
        assert time.monotonic() - start < 50
        with pytest.raises(MemoryLimitReached, match=r"more than 2\.0 GB .*own\.memory_limit"):
            worker.run(("grow", 2 * GB))
        assert worker.run(("return", 3))[0] == 3
    finally:
        worker.close()


def test_another_thread_can_end_what_runs(worker: WorkerProcess) -> None:
    process_of(worker)
    threading.Timer(0.3, worker.interrupt).start()
    with pytest.raises(WorkerDied):
        worker.run(("sleep", 60))


def test_a_process_that_died_idle_costs_no_item(worker: WorkerProcess) -> None:
    process = psutil.Process(process_of(worker))
    process.send_signal(signal.SIGKILL)
    psutil.wait_procs([process], timeout=10)
    assert worker.run(("return", 5))[0] == 5


def test_what_make_raises_is_the_failure_of_every_item() -> None:
    worker = WorkerProcess(make_nothing, memory_limit=64 * GB)
    for _ in range(2):
        failure = worker.run(("return", 1))
        assert isinstance(failure, Failure)
        assert isinstance(failure.error, UserError)
    worker.close()
    with pytest.raises(WorkerDied, match="status 3"):
        WorkerProcess(make_and_die, memory_limit=64 * GB).run(("return", 1))


def test_a_stopped_worker_does_not_come_back() -> None:
    worker = WorkerProcess(make, memory_limit=64 * GB)
    process = process_of(worker)
    worker.stop()
    for _ in range(2):
        with pytest.raises(WorkerDied):
            worker.run(("return", 1))
    assert not psutil.pid_exists(process)


def test_elsewhere_progress_goes_nowhere(tmp_path: Path) -> None:
    report_progress("here", 1.0)
