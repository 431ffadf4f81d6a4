"""Tables as CSV files and on the terminal, and paths as people type them."""

from __future__ import annotations

import os
from pathlib import Path

from deepfake.text import write_csv, write_json

__all__ = ["number", "shown", "write_csv", "write_json"]


def shown(path: Path) -> str:
    """A path as a person would type it here."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)


def number(value: float | None) -> str:
    """Four decimals without trailing zeros; "undefined" for None."""
    return "undefined" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")
