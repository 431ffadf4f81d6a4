"""What people, moments and stretches of a video are called, on pages as in annotated videos."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from deepfake.faces.crops import decode_jpeg, encode_jpeg
from deepfake.io import atomic_path, visible, write_csv, write_json, write_text


def person(track: int) -> str:
    """Track 0 is person 1."""
    return f"Person {track + 1}"


def clock(time_s: float, *, digits: int = 2) -> str:
    """Seconds as minutes or hours: 83.237 -> "1:23.24"."""
    # rounded first, or 59.999 would be 0:60.00
    hundredths = round(time_s * 10**digits)
    minutes, rest = divmod(hundredths, 60 * 10**digits)
    hours, minutes = divmod(minutes, 60)
    width = digits + 3 if digits else 2
    seconds = f"{rest / 10**digits:0{width}.{digits}f}"
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"


# Tables as CSV files and on the terminal, and paths as people type them.


__all__ = ["number", "write_csv", "write_json"]


def number(value: float | None) -> str:
    """Four decimals without trailing zeros; "undefined" for None."""
    return "undefined" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


# The terminal's tables, in which names from anybody are text and nothing else.


class TextConsole(Console):
    """A console that takes "[red]" and ":cat:" for text and shows control characters as escapes."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        """What every title, heading and cell goes through."""
        return super().render_str(visible(text, lines=True), **how)


# What all HTML pages share: one file each, no network, readable on a phone.


PORTRAIT_PX = 160


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of reports/templates with values."""
    write_text(path, page_template(template).render(**values))


def stream_page(path: Path, template: str, **values: Any) -> None:
    """The same, of values that may be iterators over more than memory holds."""
    stream = page_template(template).stream(**values)
    stream.enable_buffering(64)
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(stream)


def page_template(name: str) -> Template:
    """A template of reports/templates; what it is given is escaped, and what it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("deepfake.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def shown_text(value: Any) -> Any:
    """A value of a template as it goes on to be escaped: control characters of texts as their escapes."""
    return visible(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def pictures(folder: Path, *names: str) -> list[dict[str, str]]:
    """Name and data URI of PNG files in a folder that are there: those named first, then any others."""
    files = {path.stem: path for path in sorted(folder.glob("*.png"))}
    order = [*(name for name in names if name in files), *(name for name in files if name not in names)]
    return [{"name": name, "uri": png_uri(files[name])} for name in order]


def png_uri(path: Path) -> str:
    """A PNG file as text for an img tag."""
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()


def portrait_uri(face: bytes | np.ndarray, *, side_px: int = PORTRAIT_PX) -> str:
    """A face, JPEG or (H, W, 3) uint8 RGB, as small text for an img tag; empty for no bytes."""
    if isinstance(face, bytes):
        if not face:
            return ""
        face = decode_jpeg(face)
    small = cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + b64encode(encode_jpeg(np.asarray(small), 85)).decode()
