"""How a job ends before its time: a signal to end, a terminal that closes, a disk without room."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from deepfake.errors import Stopped
from deepfake.io import disk_is_full

# what SLURM, docker stop and systemd send, and what a closed terminal or a lost connection sends
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN = "whatever was finished is kept, run the same command again to go on"


class Received:
    """The signal of ENDING that this process has had; None before."""

    number: int | None = None

    @classmethod
    def name(cls) -> str:
        """The signal, as kill -l calls it."""
        return signal.Signals(cls.number or signal.SIGINT).name

    @classmethod
    def status(cls) -> int:
        """The exit status of an interrupted command: 128 and the signal's number, as a shell tells it."""
        return 128 + (cls.number or signal.SIGINT)


@contextmanager
def heeded() -> Iterator[None]:
    """Let the signals of ENDING interrupt the block as Ctrl-C would.

    Not those that somebody else sees to already: nohup ignores one, submitit waits for another before it
    requeues its job. Processes that are forked meanwhile end by them as if nothing had been changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif Received.number is None:  # once: its group and its parent may both pass a signal on
            Received.number = number
            raise KeyboardInterrupt

    for number in own:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def told(place: Path, going_on: Callable[[], str] = lambda: AGAIN) -> Iterator[None]:
    """Let what ends the block before its time say how to go on; place: where the block writes.

    Raises KeyboardInterrupt for an interruption, whatever came of it on the way (Lightning exits, a loader
    misses its killed worker), and Stopped for a full disk, unless these say it already.
    """
    try:
        yield
    except Stopped:
        raise
    except (KeyboardInterrupt, SystemExit) as err:
        said = str(err) if isinstance(err, KeyboardInterrupt) else ""
        raise KeyboardInterrupt(said or going_on()) from None
    except Exception as err:
        if Received.number is not None:
            raise KeyboardInterrupt(going_on()) from err
        if disk_is_full(err):
            raise Stopped(f"no space left on the disk of {place}: make room; {going_on()}") from err
        raise
