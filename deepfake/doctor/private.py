"""What a report that is pasted into a public page must not hold, and what stands there instead."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

SECRET = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
"""In the name of an environment variable: its value is none of anybody's business."""
LEAST_CHARS = 6  # of such a value: shorter ones, "1" or "true", are switches
LOGIN = re.compile(r"(?<=://)[^\s/@]+@")
ORDINARY = frozenset({"localhost", ""})


def hidden(value: Any) -> Any:
    """The value with secrets, home folder, user and host name replaced in all its texts, keys among them.

    Lists, tuples (as lists), mappings and texts are gone through; other values stay as they are.
    """
    if isinstance(value, str):
        for found, instead in _rules():
            value = found.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {hidden(name): hidden(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(inner) for inner in value]
    return value


def forget() -> None:
    """Look again at the environment, at the next call of hidden."""
    _rules.cache_clear()


@cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(_make_rules())


def _make_rules() -> Iterator[tuple[re.Pattern[str], str]]:
    """What is looked for and what takes its place, in this order."""
    secrets = {value for name, value in os.environ.items() if SECRET.search(name)}
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= LEAST_CHARS and not Path(value).exists():
            yield re.compile(re.escape(value)), "<secret>"
    yield LOGIN, "<secret>@"
    home = str(Path.home())
    if len(home) > 1:
        yield re.compile(re.escape(home) + r"(?![\w-])"), "~"
    for name, instead in ((_user(), "<user>"), (platform.node(), "<host>")):
        if name not in ORDINARY:
            # a name of its own: not the "root" of data.root, nor a part of a longer word
            yield re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])"), instead


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a number without a name, as in some containers
        return ""
