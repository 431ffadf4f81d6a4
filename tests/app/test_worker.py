import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake.app.jobs import ErrandFailed, Worker
from deepfake.errors import UserError


def silent(stage: str, share: float | None) -> None:
    pass


@pytest.fixture(scope="module")
def pretend() -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(Path(__file__).parent))  # a spawned process has the same path
    import pretend_judge

    yield pretend_judge
    patch.undo()


@pytest.fixture(scope="module")
def worker(pretend: Any) -> Iterator[Worker]:
    worker = Worker(pretend.make)
    yield worker
    worker.stop()


def test_an_errand_is_done_in_another_process_that_tells_how_far_it_is(worker: Worker) -> None:
    told: list[tuple[str, float | None]] = []
    answer, process = worker.run(("tell", [1, "two"]), lambda *step: told.append(step), limit_s=30)
    assert answer == [1, "two"]
    assert process != os.getpid()
    assert told[-1] == ("half way", 0.5)
    assert worker.run(("tell", 2), silent, limit_s=30) == (2, process)


def test_a_refusal_is_told_as_it_is_and_a_mistake_by_its_kind(worker: Worker) -> None:
    with pytest.raises(ErrandFailed, match=r"^film\.mp4: too long$"):
        worker.run(("refuse", "film.mp4: too long"), silent, limit_s=30)
    with pytest.raises(ErrandFailed, match="ZeroDivisionError: a mistake of ours"):
        worker.run(("mistake", None), silent, limit_s=30)


def test_a_crash_costs_one_errand_and_the_next_has_a_new_process(worker: Worker) -> None:
    before = worker.run(("tell", 1), silent, limit_s=30)[1]
    with pytest.raises(ErrandFailed, match="crashed"):
        worker.run(("crash", None), silent, limit_s=30)
    assert worker.run(("tell", 2), silent, limit_s=30)[1] != before


def test_an_errand_that_takes_too_long_is_ended(worker: Worker) -> None:
    worker.run(("tell", 1), silent, limit_s=30)
    start = time.monotonic()
    with pytest.raises(ErrandFailed, match=r"longer than 0\.2 s \(time_limit_s\)"):
        worker.run(("sleep", 60), silent, limit_s=0.2)
    assert time.monotonic() - start < 20
    assert worker.run(("tell", 3), silent, limit_s=30)[0] == 3


def test_an_errand_that_needs_too_much_memory_is_ended(pretend: Any) -> None:
    worker = Worker(pretend.make, memory_limit=10**9)
    try:
        worker.run(("tell", 1), silent, limit_s=30)
        with pytest.raises(ErrandFailed, match=r"more than 1\.0 GB of memory \(memory_limit\)"):
            worker.run(("grow", 10**9), silent, limit_s=50)
        assert worker.run(("tell", 3), silent, limit_s=30)[0] == 3
    finally:
        worker.stop()


def test_an_errand_can_be_ended_by_another_thread(worker: Worker) -> None:
    worker.run(("tell", 1), silent, limit_s=30)
    threading.Timer(0.3, worker.interrupt).start()
    with pytest.raises(ErrandFailed):
        worker.run(("sleep", 60), silent, limit_s=50)


def test_a_process_that_died_idle_costs_no_errand(worker: Worker) -> None:
    process = worker.run(("tell", 1), silent, limit_s=30)[1]
    os.kill(process, signal.SIGKILL)
    end = time.monotonic() + 10
    while Path(f"/proc/{process}").exists() and time.monotonic() < end:
        if "Z" in Path(f"/proc/{process}/stat").read_text().split()[2]:
            break
        time.sleep(0.01)
    assert worker.run(("tell", 5), silent, limit_s=30)[0] == 5


def test_what_make_raises_is_raised_where_the_process_is_started(pretend: Any) -> None:
    with pytest.raises(UserError, match=r"^checkpoint=none\.ckpt: no such file$"):
        Worker(pretend.make_nothing).start()
    with pytest.raises(ErrandFailed, match="ended while it started"):
        Worker(pretend.make_and_die).start()


def test_a_stopped_worker_does_not_come_back(pretend: Any) -> None:
    worker = Worker(pretend.make)
    worker.start()
    worker.stop()
    for _ in range(2):
        with pytest.raises(ErrandFailed):
            worker.run(("tell", 1), silent, limit_s=30)
