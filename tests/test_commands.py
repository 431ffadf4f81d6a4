"""What tests/commands.py starts behaves as a new interpreter does."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import commands
import pytest

SCRIPT = """
import json, multiprocessing, os, signal, sys, threading

def work(number):
    return os.getpid() != number

def main():
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        elsewhere = pool.apply(work, (os.getpid(),))
    told = {
        "arguments": sys.argv[1:],
        "variable": os.environ.get("OF_THE_TEST"),
        "folder": os.getcwd(),
        "path": sys.path[0],
        "input": sys.stdin.read(),
        "leader": os.getpid() == os.getpgid(0),
        "handlers": [str(signal.getsignal(number)) for number in (2, 15, 1)],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "fds": len(os.listdir("/proc/self/fd")) < 20,
        "threads": threading.active_count(),
        "worker": elsewhere,
    }
    print(json.dumps(told), flush=True)
    print("and an error", file=sys.stderr)
    if sys.argv[1] == "wait":
        signal.pause()
    sys.exit(int(sys.argv[1]))

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "script.py").write_text(SCRIPT)
    return str(tmp_path / "script.py")


@pytest.mark.skipif(not commands.FORKS, reason="they are new interpreters here")
def test_a_forked_command_says_what_a_new_interpreter_says(script: str, tmp_path: Path) -> None:
    env = {"OF_THE_TEST": "set"}
    forked = commands.run([script, "3"], env=env, cwd=tmp_path)
    cold = subprocess.run(
        [sys.executable, script, "3"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert cold.returncode == forked.returncode == 3
    assert json.loads(forked.stdout) == json.loads(cold.stdout)
    assert forked.stderr == cold.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_as_it_ends_a_new_interpreter(script: str, sent: signal.Signals) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    process = commands.start([script, "wait"], **pipes)
    assert json.loads(process.stdout.readline())["leader"]
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(sent)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == process.poll() == -sent
    assert ("KeyboardInterrupt" in printed) == (sent == signal.SIGINT)
