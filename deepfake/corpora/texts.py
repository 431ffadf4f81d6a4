"""Lists and metadata beside the videos, read whole; a file that is something else is one clear error."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from deepfake.errors import UserError


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Line number and text of every line that is not blank; the last may lack its line break."""
    lines = enumerate(_text(path).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(_text(path))
    except ValueError as err:
        raise UserError(f"{path}: not readable as JSON ({err}); download it again or take it away") from err


def read_csv(path: Path) -> csv.DictReader[str]:
    """The rows of a CSV file with a header."""
    return csv.DictReader(io.StringIO(_text(path), newline=""))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not a text file in UTF-8 ({err.reason})") from err
