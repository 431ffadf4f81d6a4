"""Videos that need no file, for tests of splits, protocols and leaks."""

from pathlib import Path
from typing import Any

from deepfake.records import Video


def make_video(key: str, label: int, *people: str, **known: Any) -> Video:
    """A video of corpus x: real for label 0, else of method swap."""
    values = {"path": Path(key), "method": "swap" if label else "real", **known}
    return Video(key=key, corpus="x", label=label, identities=people, **values)
