"""What a test needs beside the checkout: weights, lists and videos in ../shared, and a browser."""

import os
from typing import NoReturn

import pytest


def skip_missing(what: str) -> NoReturn:
    """Skip a test for something that is not on this machine; with REQUIRE_ALL=1 the test fails instead."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"REQUIRE_ALL=1: {what}")
    pytest.skip(what)
