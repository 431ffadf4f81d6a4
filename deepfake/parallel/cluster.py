"""A connection to Dask: to a running scheduler, or to processes of this machine that it starts and ends."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any

from deepfake.errors import UserError
from deepfake.parallel.feed import worker_command

CONNECT_S = 10


@contextmanager
def connected(address: str | None, num_workers: int, memory_limit: str | float) -> Iterator[Any]:
    """A Dask client of the scheduler at address, or of processes of this machine that end with the block."""
    import dask

    dask.config.set({"logging.distributed": "critical"})  # read by the next line
    from distributed import Client, LocalCluster

    settings = {
        "distributed.worker.daemon": False,  # an item may start processes
        "distributed.worker.profile.enabled": False,
        "distributed.admin.large-graph-warning-threshold": "1GB",
    }
    with dask.config.set(settings):
        if address is not None:
            with client_at(address) as client:
                yield client
            return
        limit = {} if memory_limit == "auto" else {"memory_limit": bytes_of(memory_limit)}
        local = {
            "n_workers": num_workers,
            "threads_per_worker": 1,
            "dashboard_address": "127.0.0.1:0",
            **limit,
        }
        meant_for_workers = set(dask.config.get("distributed.nanny.pre-spawn-environ")) - set(os.environ)
        try:
            with ExitStack() as stack:
                with interrupts_held():
                    cluster = stack.enter_context(LocalCluster(silence_logs=logging.CRITICAL, **local))
                yield stack.enter_context(Client(cluster, set_as_default=False))
        finally:
            for name in meant_for_workers:  # such as OMP_NUM_THREADS=1, which Dask sets in this process too
                os.environ.pop(name, None)


def bytes_of(memory_limit: str | float) -> int:
    """Bytes; raises UserError for what is no size."""
    from dask.utils import parse_bytes

    try:
        return parse_bytes(memory_limit)
    except ValueError:
        raise UserError(f"parallel.memory_limit={memory_limit}: not a size; auto or, say, 4GB") from None


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Threads and processes started meanwhile never see Ctrl-C: to end them is this process's affair."""
    resource_tracker.ensure_running()  # which would let signals through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def client_at(address: str) -> Any:
    """A Dask client of a running scheduler, or UserError."""
    from distributed import Client

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="distributed")  # versions that matter are compared below
        try:
            return Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, ImportError) as err:
            raise UserError(
                f"parallel.address={address}: no Dask scheduler answers ({err}); start one with "
                f"`dask scheduler` and workers with `{worker_command(address)}`"
            ) from err
