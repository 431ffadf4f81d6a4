"""Commands in processes of their own, forked from a server that has imported what they would import.

python scripts/train.py … spends 5 to 10 seconds of a processor on its imports, and most tests of commands are
about something else: arguments, exit statuses, signals, files. run() and start() give such a test a process
with its own pid, arguments, environment, folder and streams, which ends as any interpreter does, in a
fraction of a second. Tests of the start itself, of variables that are read on import and of what gets
imported at all use subprocess instead.
"""

import atexit
import importlib
import json
import os
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[1]
IMPORTED = (
    *("deepfake.cli", "deepfake.parallel.pool", "deepfake.data.augment", "deepfake.models.mesonet"),
    *(f"deepfake.tasks.{task}" for task in ("train", "evaluate", "predict", "extract", "app")),
)
INTERRUPTIONS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
FORKS = hasattr(os, "pidfd_open")
"""Whether commands are forked, which is on Linux; elsewhere each is a new interpreter."""


def run(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Like subprocess.run of sys.executable with a script and its arguments, capturing what it prints."""
    process = start(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd)
    try:
        printed, errors = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(list(arguments), process.returncode, printed, errors)


def start(arguments: Sequence[str], **settings: Any) -> "Command | subprocess.Popen[str]":
    """Like subprocess.Popen of sys.executable with a script and its arguments, and streams of text."""
    if FORKS:
        return Command(arguments, **settings)
    return subprocess.Popen([sys.executable, *arguments], text=True, **settings)


class Command:
    """A running command; its methods are those of subprocess.Popen."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stdout: int | IO[str] = subprocess.DEVNULL,
        stderr: int | IO[str] = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        start_new_session: bool = False,
    ) -> None:
        self.args, self.returncode = list(arguments), None
        request = {
            "arguments": self.args,
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "session": start_new_session,
        }
        self._reply, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with open(os.devnull) as nothing, open(os.devnull, "w") as nowhere, theirs:
            self.stdout, out = stream(stdout, nowhere.fileno())
            self.stderr, err = (
                (None, out) if stderr == subprocess.STDOUT else stream(stderr, nowhere.fileno())
            )
            fds = [theirs.fileno(), nothing.fileno(), out, err]
            socket.send_fds(server(), [json.dumps(request).encode()], fds)
            for fd, given in ((out, stdout), (err, stderr)):
                if given == subprocess.PIPE:
                    os.close(fd)
        self.pid = int(self._reply.recv(64))

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._reply.settimeout(timeout)
            try:
                self.returncode = int(self._reply.recv(64))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._reply.close()
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        streams = (self.stdout, self.stderr)
        readers = ThreadPoolExecutor(2)
        try:
            reading = [found and readers.submit(found.read) for found in streams]
            printed, errors = (future and future.result(timeout) for future in reading)
        except TimeoutError:
            raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
        finally:
            readers.shutdown(wait=False)
        self.wait(timeout)
        return printed, errors

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def stream(given: int | IO[str], nothing: int) -> tuple[IO[str] | None, int]:
    """What this process reads from, if anything, and the file descriptor that a command writes to."""
    if given == subprocess.PIPE:
        ours, theirs = os.pipe()
        return os.fdopen(ours), theirs
    return None, nothing if isinstance(given, int) else given.fileno()


@cache
def server() -> socket.socket:
    """Start the server of this process; it ends when its socket closes, so with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


# In the server


def main(control: socket.socket) -> None:
    """Fork a process for every request, in which this function then runs the script."""
    sys.path.insert(1, str(ROOT))
    for name in IMPORTED:
        importlib.import_module(name)
    request = next_request(control)
    prepare(**request)
    fork_zygote()
    runpy.run_path(sys.argv[0], run_name="__main__")


def next_request(control: socket.socket) -> dict[str, Any]:
    """Return in forked processes only, with what each is to run; streams are set."""
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:  # a process has ended
                pid, reply = key.data
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(OSError), reply:
                    reply.send(str(status).encode())
                selector.unregister(key.fd)
                os.close(key.fd)
                continue
            data, fds, _, _ = socket.recv_fds(control, 2**20, 4)
            if not data:
                sys.exit()
            (reply_fd, *streams), pid = fds, os.fork()
            reply = socket.socket(fileno=reply_fd)
            if pid == 0:
                for number, fd in enumerate(streams):
                    os.dup2(fd, number)
                request = json.loads(data)
                if request.pop("session"):
                    os.setsid()
                with reply:
                    reply.send(str(os.getpid()).encode())
                control.close()
                for other in [key for key in selector.get_map().values() if key.data]:
                    os.close(other.fd)
                    other.data[1].close()
                selector.close()
                for fd in streams:
                    os.close(fd)
                return request
            for fd in streams:
                os.close(fd)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, reply))


def prepare(arguments: list[str], env: dict[str, str], cwd: str) -> None:
    """Make this process what a new interpreter would be."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # it may have been looked up
    sys.argv[:] = arguments
    script = Path(arguments[0]).resolve()
    places = [place for place in env.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[0:1] = [str(script.parent), *places]
    if (script.parents[1] / "deepfake").is_dir() and script.parents[1] != ROOT:  # another copy of it
        for name in [name for name in sys.modules if name.partition(".")[0] == "deepfake"]:
            del sys.modules[name]
    for place in places:  # as site does
        if (Path(place) / "sitecustomize.py").is_file():
            runpy.run_path(f"{place}/sitecustomize.py")
    if "OMP_NUM_THREADS" in env:  # which torch has read already
        import torch

        torch.set_num_threads(int(env["OMP_NUM_THREADS"]))


def fork_zygote() -> None:
    """Fork a process that becomes the server of this process's workers, should it start one."""
    from multiprocessing import util

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    start_cold = util.spawnv_passfds
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    zygote = os.fork()
    if zygote == 0:
        ours.close()
        status = 1
        try:
            become_forkserver(theirs)
        except SystemExit:
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def start_warm(path: bytes, arguments: list[str], fds: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1] or ours.fileno() < 0:
            return start_cold(path, arguments, fds)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with ours:
            socket.send_fds(ours, [json.dumps([arguments[-1], list(blocked)]).encode()], list(fds))
        return zygote

    util.spawnv_passfds = start_warm


def become_forkserver(control: socket.socket) -> None:
    """Run multiprocessing's own code for its forkserver, if this process is asked for it."""
    data, fds, _, _ = socket.recv_fds(control, 2**20, 2)
    control.close()
    if not data:
        return
    code, blocked = json.loads(data)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    exec(re.sub(r"main\(\d+, \d+", "main({}, {}".format(*fds), code), {"__name__": "__main__"})


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
