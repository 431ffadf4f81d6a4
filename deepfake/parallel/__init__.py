"""A function over many items, on one core, all of them, or many machines."""

from deepfake.parallel.executor import Executor
from deepfake.parallel.outcome import Failure, Outcome, WorkerDied, num_cores, progress_bar
from deepfake.parallel.worker import keep_freed_memory

__all__ = ["Executor", "Failure", "Outcome", "WorkerDied", "keep_freed_memory", "num_cores", "progress_bar"]
