"""What a test needs beside the checkout: weights, lists and videos in ../shared, and a browser."""

import os
from typing import NoReturn

import pytest


def skip_missing(what: str) -> NoReturn:
    """Skip a test for something that is not on this machine; with REQUIRE_ALL=1 the test fails instead."""
    fail_where_required(what)
    pytest.skip(what)


def fail_where_required(what: str) -> None:
    """With REQUIRE_ALL=1, fail a test that could test less without something that is not on this machine."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"REQUIRE_ALL=1: {what}")
