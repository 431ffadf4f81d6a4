import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from deepfake.errors import UserError
from deepfake.parallel import pool
from deepfake.parallel.pool import Executor, Failure

ROOT = Path(__file__).parents[2]
TWO = Executor(num_workers=2)
DIED = "WorkerDied: twice its worker process "
KILLED = DIED + "was killed (SIGKILL, as the system does when memory is short: fewer parallel.num_workers)"
CRASHED = DIED + "crashed ({}), as broken or hostile files make a decoder do"
TOO_SLOW = "TimeLimitReached: it took longer than 2 s and was ended; parallel.time_limit_s allows more"
TOO_LARGE = (
    "MemoryLimitReached: it needed more than 1.5 GB of memory and was ended; parallel.memory_limit, or fewer "
    "parallel.num_workers, allow more"
)


def inverse(item: int) -> float:
    return 1 / item


def pid(item: Any) -> int:
    time.sleep(0.1)
    return os.getpid()


def note(folder: Path, item: int) -> None:
    with open(folder / "runs", "a", buffering=1) as file:
        file.write(f"{item}\n")


def runs(folder: Path) -> Counter[int]:
    return Counter(map(int, (folder / "runs").read_text().split()))


def kill_at_3_and_7(job: tuple[Path, int]) -> int:
    folder, item = job
    note(folder, item)
    time.sleep(0.02)
    if item in (3, 7):
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_the_first_time(job: tuple[Path, int]) -> int:
    folder, item = job
    note(folder, item)
    if runs(folder)[item] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def sleep_and_note(job: tuple[Path, int]) -> int:
    note(*job)
    time.sleep(0.2)
    return job[1]


def eat_memory_at_2(item: int) -> int:
    eaten = []
    while item == 2:
        eaten.append(bytearray(b"x") * (16 << 20))
        time.sleep(0.02)
    return item


def come_to_grief(item: str) -> str:
    match item:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(7)
        case "sleep":
            time.sleep(1000)
        case "spin":
            while True:
                pass
    return item


def big_array(size: int) -> np.ndarray:
    return np.full(size, 7, np.uint8)


def hang(item: int) -> None:
    time.sleep(1000)


def faults_of_big_blocks(item: int) -> int:
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(50):
        bytearray(b"x") * (8 << 20)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


class Awkward(Exception):
    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} {why}")


def return_or_raise_what_cannot_travel(item: Any) -> Any:
    if item == "raise":
        raise Awkward("cannot", "unpickle")
    return threading.Lock() if item == "return" else item


def threads_of_opencv(item: int) -> int:
    import cv2

    return cv2.getNumThreads()


def answers(executor: Executor, function: Callable[[Any], Any], items: list[Any]) -> dict[Any, Any]:
    outcomes = list(executor.map_unordered(function, items))
    assert sorted(outcome.item for outcome in outcomes) == sorted(items)
    return {o.item: o.result.reason if isinstance(o.result, Failure) else o.result for o in outcomes}


def worker_processes(parent: int | None = None) -> list[int]:
    servers = [p for p in psutil.Process(parent).children() if "forkserver" in " ".join(p.cmdline())]
    return [worker.pid for server in servers for worker in server.children()]


def gone(pids: list[int], *, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while any(psutil.pid_exists(p) and psutil.Process(p).status() != "zombie" for p in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_an_item_that_kills_its_workers_runs_twice_and_all_others_once(tmp_path: Path) -> None:
    jobs = [(tmp_path, item) for item in range(12)]
    found = answers(TWO, kill_at_3_and_7, jobs)
    assert found == {(tmp_path, item): KILLED if item in (3, 7) else item for item in range(12)}
    # two killers at once are the other's innocent neighbour; neither cost anybody a second run
    assert runs(tmp_path) == Counter(range(12)) + Counter([3, 7])


def test_an_item_whose_worker_dies_once_is_done_the_second_time(tmp_path: Path) -> None:
    jobs = [(tmp_path, item) for item in range(4)]
    assert answers(TWO, die_the_first_time, jobs) == {job: job[1] for job in jobs}
    assert runs(tmp_path) == dict.fromkeys(range(4), 2)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_whatever_an_item_does_to_its_process_is_its_own_failure(num_workers: int) -> None:
    guarded = Executor(num_workers=num_workers, time_limit_s=2)
    items = ["a", "segfault", "abort", "b", "exit", "sleep", "spin", "c"]
    assert answers(guarded, come_to_grief, items) == {
        **{item: item for item in "abc"},
        "segfault": CRASHED.format("SIGSEGV"),
        "abort": CRASHED.format("SIGABRT"),
        "exit": DIED + "ended with status 7",
        "sleep": TOO_SLOW,
        "spin": TOO_SLOW,
    }
    assert worker_processes() == []


def test_an_item_that_grows_past_the_memory_limit_fails_alone() -> None:
    found = answers(Executor(num_workers=2, memory_limit="1500MB"), eat_memory_at_2, list(range(5)))
    assert found == {0: 0, 1: 1, 2: TOO_LARGE, 3: 3, 4: 4}


def test_one_item_alone_has_a_process_of_its_own_unless_none_are_wanted() -> None:
    assert answers(Executor(), come_to_grief, ["segfault"]) == {"segfault": CRASHED.format("SIGSEGV")}
    assert answers(Executor(num_workers=0), pid, [1]) == {1: os.getpid()}


def test_the_time_that_items_wait_or_workers_start_is_not_counted() -> None:
    slow = Executor(num_workers=1, time_limit_s=0.4)
    assert set(answers(slow, pid, list(range(8))).values()).isdisjoint({os.getpid(), TOO_SLOW})


def test_a_big_result_arrives_whole_and_writable() -> None:
    (result,) = [outcome.result for outcome in Executor(num_workers=1).map_unordered(big_array, [50_000_000])]
    result[0] = 1
    assert result.sum() == 7 * (len(result) - 1) + 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"num_workers": -1}, r"parallel\.num_workers=-1"), ({"time_limit_s": 0}, r"parallel\.time_limit_s=0")],
)
def test_a_number_that_cannot_be_meant_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Executor(**wrong)


def test_what_cannot_be_pickled_fails_alone() -> None:
    lock = threading.Lock()
    outcomes = list(TWO.map_unordered(return_or_raise_what_cannot_travel, ["raise", "return", lock, "fine"]))
    found = {o.item: o.result.reason if isinstance(o.result, Failure) else o.result for o in outcomes}
    assert found == {
        "raise": "RuntimeError: Awkward: cannot unpickle",
        "return": "TypeError: cannot pickle '_thread.lock' object",
        lock: "TypeError: cannot pickle '_thread.lock' object",
        "fine": "fine",
    }


def test_workers_do_not_run_far_ahead_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_UNREAD", 3)
    outcomes = TWO.map_unordered(kill_at_3_and_7, [(tmp_path, item) for item in range(10, 50)])
    next(outcomes)
    while runs(tmp_path).total() < 1 + 3 + 2:  # read, waiting, and one in every worker
        time.sleep(0.05)
    time.sleep(0.5)
    assert runs(tmp_path).total() == 1 + 3 + 2
    assert len(list(outcomes)) == 39


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("4GB", 4 * 10**9),
        ("1.5 GiB", 3 << 29),
        ("500mb", 5 * 10**8),
        ("2e9", 2 * 10**9),
        (1024, 1024),
        ("7k", 7000),
    ],
)
def test_a_memory_limit_is_a_size_with_its_unit(size: str | int, expected: int) -> None:
    assert pool.size_in_bytes(size) == expected


def test_a_memory_limit_that_is_no_size_is_named() -> None:
    with pytest.raises(UserError, match=r"parallel\.memory_limit=lots: not a size"):
        list(Executor(num_workers=2, memory_limit="lots").map_unordered(inverse, [1, 2]))


def test_a_generator_closed_early_leaves_no_process() -> None:
    outcomes = TWO.map_unordered(pid, range(1000))
    next(outcomes)
    assert len(worker_processes()) == 2
    outcomes.close()
    assert worker_processes() == []


SCRIPT = """
import sys
import threading
from pathlib import Path
from deepfake.parallel import pool
from deepfake.parallel.pool import Executor
from tests.parallel.test_pool import hang, kill_at_3_and_7, pid, worker_processes

if __name__ == "__main__":
    pool.PRELOADED = ()  # which takes seconds to import, and nothing here needs
    if sys.argv[1:] == ["leave"]:
        outcomes = Executor(num_workers=1).map_unordered(hang, range(2))
        threading.Thread(target=next, args=(outcomes,), daemon=True).start()
        while not worker_processes():
            pass
        print(*worker_processes(), flush=True)
        sys.exit()
    if sys.argv[1:]:
        jobs = [(Path(sys.argv[1]), item) for item in range(6)]
        outcomes = Executor(num_workers=2).map_unordered(kill_at_3_and_7, jobs)
        print(sorted(outcome.item[1] for outcome in outcomes))
        sys.exit()
    for outcome in Executor(num_workers=2).map_unordered(pid, range(1000)):
        print(*worker_processes(), flush=True)
        break
    outcomes = Executor(num_workers=2).map_unordered(hang, range(2))
    threading.Timer(1.5, lambda: print(*worker_processes(), flush=True)).start()
    next(outcomes)
"""


def start_script(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    (tmp_path / "script.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_nothing_but_the_result_is_printed_even_when_workers_die(tmp_path: Path) -> None:
    assert start_script(tmp_path, str(tmp_path)).communicate() == ("[0, 1, 2, 3, 4, 5]\n", "")


def test_a_process_ends_although_its_workers_hang_and_nobody_closes_them(tmp_path: Path) -> None:
    printed, errors = start_script(tmp_path, "leave").communicate(timeout=60)
    assert errors == ""
    assert gone([int(word) for word in printed.split()], within_s=60)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_workers_do_not_outlive_their_parent_even_when_they_hang(tmp_path: Path, signal_number: int) -> None:
    script = start_script(tmp_path)
    assert script.stdout is not None
    for _ in range(2):  # at work, then hanging
        workers = [int(word) for word in script.stdout.readline().split()]
        assert len(workers) == 2
    if signal_number == signal.SIGKILL:
        script.kill()
    else:  # Ctrl-C reaches all
        os.killpg(script.pid, signal_number)
    errors = script.communicate()[1]
    assert gone(workers, within_s=60)
    tracebacks = int(signal_number == signal.SIGINT)
    assert errors.count("Traceback") == errors.count("\nKeyboardInterrupt\n") == tracebacks, errors


HOLD_AND_TRIM = """
import numpy as np, psutil
from deepfake.parallel.pool import keep_freed_memory, trim_freed_memory
def resident_mb():
    return psutil.Process().memory_info().rss / 1e6
keep_freed_memory()
before = resident_mb()
held, pin = np.ones(25_000_000), np.ones(10)  # 200 MB below something that stays
del held
kept = resident_mb() - before
trim_freed_memory()
print(kept, resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_until_it_is_trimmed() -> None:
    done = subprocess.run([sys.executable, "-c", HOLD_AND_TRIM], capture_output=True, text=True, check=True)
    kept, trimmed = map(float, done.stdout.split())
    assert kept > 150
    assert trimmed < 50
