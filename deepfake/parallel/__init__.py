"""A function over many items, in worker processes of this machine or of a Dask cluster."""

from deepfake.parallel.pool import (
    Executor,
    Failure,
    MemoryLimitReached,
    Outcome,
    TimeLimitReached,
    WorkerDied,
    WorkerProcess,
    keep_freed_memory,
    num_cores,
    progress_bar,
    report_progress,
    return_freed_memory,
    size_in_bytes,
    start_server,
    stop_server,
    trim_freed_memory,
)

__all__ = [
    "Executor",
    "Failure",
    "MemoryLimitReached",
    "Outcome",
    "TimeLimitReached",
    "WorkerDied",
    "WorkerProcess",
    "keep_freed_memory",
    "num_cores",
    "progress_bar",
    "report_progress",
    "return_freed_memory",
    "size_in_bytes",
    "start_server",
    "stop_server",
    "trim_freed_memory",
]
