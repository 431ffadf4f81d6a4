"""The terminal's tables, in which names from anybody are text and nothing else."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from deepfake.text import visible


class TextConsole(Console):
    """A console that takes "[red]" and ":cat:" for text and shows control characters as escapes."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        """What every title, heading and cell goes through."""
        return super().render_str(visible(text, lines=True), **how)
