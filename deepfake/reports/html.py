"""Shared by all reports: tables for pages, Markdown and the terminal, number formats, HTML pages, colours.

Every page is one file that needs no network and can be read on a phone.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepfake.io import atomic_path, visible, write_text

if TYPE_CHECKING:
    import numpy as np

REAL_COLOUR, FAKE_COLOUR, INK = "#2a7f9e", "#c8553d", "#333333"
PORTRAIT_PX = 160
METRIC_NAMES = {
    "auroc": "AUROC",
    "ap": "AP",
    "eer": "EER",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "tpr_at_0.1pct_fpr": "TPR at 0.1 % FPR",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "calibration error",
}


class TextTable(NamedTuple):
    """Headings and rows of cells; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> list[str]:
        """Lines of a Markdown table."""
        return [markdown_row(row) for row in (self.columns, ["---"] * len(self.columns), *self.rows)]

    def terminal(self, *, title: str = "", caption: str = "", foldable: Sequence[str] = ()) -> Table:
        """A table for a TextConsole; the first column and the foldable ones are text and may be wrapped."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, caption=caption or None)
        table.title_justify = table.caption_justify = "left"
        for index, column in enumerate(self.columns):
            is_text = index == 0 or column in foldable
            justify = "left" if is_text else "right"
            table.add_column(column, justify=justify, overflow="fold", no_wrap=not is_text)  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*row)
        return table


class TextConsole(Console):
    """A console that prints "[red]" and ":cat:" literally and shows control characters as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every title, heading and cell passes through here."""
        return super().render_str(visible(text, lines=True), **options)


def markdown_row(cells: Sequence[str]) -> str:
    """Cells between bars, in which bars and "<" of a cell are escaped."""
    shown = (visible(cell).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(shown)} |"


def number(value: float | None) -> str:
    """Four decimals without trailing zeros; "undefined" for None."""
    return "undefined" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def with_interval(value: float | None, ends: tuple[float, float] | None = None) -> str:
    """0.981 (0.952–0.998), or a dash if the value is undefined."""
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends else "")


def interval_of(values: Mapping[str, Any], rate: str) -> tuple[float, float] | None:
    """The bootstrap interval of a rate among flat values, if it has one."""
    low, high = values.get(f"{rate}_low"), values.get(f"{rate}_high")
    return None if low is None or high is None else (low, high)


def person(track: int) -> str:
    """Track 0 is person 1."""
    return f"Person {track + 1}"


def clock(time_s: float, *, digits: int = 2) -> str:
    """Seconds as minutes or hours: 83.237 -> "1:23.24"."""
    # rounded first, or 59.999 would be 0:60.00
    units = round(time_s * 10**digits)
    minutes, rest = divmod(units, 60 * 10**digits)
    hours, minutes = divmod(minutes, 60)
    width = digits + 3 if digits else 2
    seconds = f"{rest / 10**digits:0{width}.{digits}f}"
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"


def time_range(start_s: float, end_s: float) -> str:
    """0:01.00–0:02.50, or a single time if both would read the same."""
    start, end = clock(start_s), clock(end_s)
    return start if start == end else f"{start}–{end}"


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of reports/templates with values."""
    write_text(path, environment().get_template(template).render(**values))


def stream_page(path: Path, template: str, **values: Any) -> None:
    """Like write_page, but the values may be iterators over more than fits into memory."""
    stream = environment().get_template(template).stream(**values)
    stream.enable_buffering(64)
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(stream)


@cache
def environment(package: str = "deepfake.reports") -> Environment:
    """The templates of a package: values are escaped, but in Markdown; a missing value is an error."""
    found = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=lambda name: name is None or ".md" not in name,
        undefined=StrictUndefined,
        finalize=_with_visible_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (interval_of, with_interval, number, person, clock, time_range, image_uri):
        found.globals[function.__name__] = function
    return found


def _with_visible_controls(value: Any) -> Any:
    """Text of a template with its control characters as escapes; anything else as it is."""
    return visible(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def png_uri(path: Path) -> str:
    """A PNG file as text for an img tag."""
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()


def image_uri(image: bytes | np.ndarray, *, max_px: int = PORTRAIT_PX) -> str:
    """A JPEG or (H, W, 3) uint8 RGB as text for an img tag, reduced to max_px; empty for no bytes."""
    import cv2  # here, because tables need no OpenCV

    from deepfake.faces.video_faces import decode_jpeg, encode_jpeg

    if isinstance(image, bytes) and not image:
        return ""
    rgb = decode_jpeg(image) if isinstance(image, bytes) else image
    scale = max_px / max(rgb.shape[:2])
    if scale < 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    jpeg = image if isinstance(image, bytes) and scale >= 1 else encode_jpeg(rgb, 88)
    return "data:image/jpeg;base64," + b64encode(jpeg).decode()
