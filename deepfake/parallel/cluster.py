"""A connection to a running Dask scheduler."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deepfake.errors import UserError
from deepfake.parallel.feed import worker_command

CONNECT_S = 10


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A Dask client of the scheduler at address."""
    import dask

    dask.config.set({"logging.distributed": "critical"})  # read by the next line
    import distributed  # noqa: F401  # brings settings of its own, which must outlast those below

    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}),
        client_at(address) as client,
    ):
        yield client


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
