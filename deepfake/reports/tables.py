"""Tables as CSV files and on the terminal, and paths as people type them."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows under a header; values may hold commas, quotes and line breaks."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def shown(path: Path) -> str:
    """A path as a person would type it here."""
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)


def number(value: float | None) -> str:
    """Four decimals without trailing zeros; "undefined" for None."""
    return "undefined" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")
