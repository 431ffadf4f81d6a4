"""A function over many items, in processes of this machine or of many."""

from deepfake.parallel.executor import Executor
from deepfake.parallel.outcome import (
    Failure,
    MemoryLimitReached,
    Outcome,
    TimeLimitReached,
    WorkerDied,
    num_cores,
    progress_bar,
)
from deepfake.parallel.process import start_server
from deepfake.parallel.worker import keep_freed_memory

__all__ = [
    "Executor",
    "Failure",
    "MemoryLimitReached",
    "Outcome",
    "TimeLimitReached",
    "WorkerDied",
    "keep_freed_memory",
    "num_cores",
    "progress_bar",
    "start_server",
]
