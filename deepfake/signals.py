"""How a job ends early: by a signal, a terminal that closes, or a disk without room."""

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
END_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
RUN_AGAIN = "whatever was finished is kept, run the same command again to go on"


class ReceivedSignal:
    """The one of END_SIGNALS that this process has received; None before."""

    number: int | None = None

    @classmethod
    def name(cls) -> str:
        """As kill -l lists it."""
        return signal.Signals(cls.number or signal.SIGINT).name

    @classmethod
    def exit_status(cls) -> int:
        """Of an interrupted command: 128 plus the signal's number, as in a shell."""
        return 128 + (cls.number or signal.SIGINT)


@contextmanager
def handle_signals() -> Iterator[None]:
    """Let END_SIGNALS interrupt the block as Ctrl-C does, in the main thread.

    Signals that have a handler already keep it: nohup ignores one, submitit waits for another before it
    requeues its job. Processes that are forked in the block end by these signals as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = [number for number in END_SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    owner = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif ReceivedSignal.number is None:  # once: its process group and its parent may both send one
            ReceivedSignal.number = number
            raise KeyboardInterrupt

    for number in own:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def explain_early_end(folder: Path, resume_hint: Callable[[], str] = lambda: RUN_AGAIN) -> Iterator[None]:
    """Let the error that ends the block early say how to go on; folder: where the block writes.

    Raises KeyboardInterrupt for an interruption, whatever it led to on the way (Lightning exits, a loader
    misses its killed worker), and Stopped for a full disk. An error that has a text already keeps it.
    """
    try:
        yield
    except Stopped:
        raise
    except (KeyboardInterrupt, SystemExit) as err:
        text = str(err) if isinstance(err, KeyboardInterrupt) else ""
        raise KeyboardInterrupt(text or resume_hint()) from None
    except Exception as err:
        if ReceivedSignal.number is not None:
            raise KeyboardInterrupt(resume_hint()) from err
        if disk_is_full(err):
            raise Stopped(f"no space left on the disk of {folder}: make room; {resume_hint()}") from err
        raise
