"""Errands for a real worker process, without a detector; a module, since that process imports it."""

import os
import time
from typing import Any

from deepfake.app.jobs import Report
from deepfake.errors import UserError


def make() -> tuple[Any, dict[str, str]]:
    return do, {"process": str(os.getpid())}


def make_nothing() -> tuple[Any, Any]:
    raise UserError("checkpoint=none.ckpt: no such file")


def make_and_die() -> tuple[Any, Any]:
    os._exit(3)


def do(errand: tuple[str, Any], report: Report) -> Any:
    kind, value = errand
    if kind == "tell":
        report("half way", 0.5)
        return value, os.getpid()
    if kind == "sleep":
        time.sleep(value)
    if kind == "grow":
        hoard = bytearray(b"x") * value
        time.sleep(60)
        return len(hoard)
    if kind == "crash":
        os.abort()
    if kind == "refuse":
        raise UserError(value)
    raise ZeroDivisionError("a mistake of ours")
