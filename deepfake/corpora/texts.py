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


class Rows(csv.DictReader):  # type: ignore[type-arg]  # generic from Python 3.12 on
    """Rows by column; a line that is no CSV is one clear error."""

    path: Path

    def __next__(self) -> dict[str | Any, str | Any]:
        """The next row."""
        try:
            return super().__next__()
        except csv.Error as err:
            raise UserError(f"{self.path}, line {self.line_num + 1}: not readable as CSV ({err})") from err


def read_csv(path: Path) -> Rows:
    """The rows of a CSV file with a header; raises UserError naming the line, now or while they are read."""
    rows = Rows(io.StringIO(_text(path), newline=""))
    rows.path = path
    try:
        _ = rows.fieldnames
    except csv.Error as err:
        raise UserError(f"{path}, line 1: not readable as CSV ({err})") from err
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror})") from err
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not a text file in UTF-8 ({err.reason})") from err
