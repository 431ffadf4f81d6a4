"""Every HTML page in a headless Chromium: no errors, no requests, no wider than a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from deepfake.tasks import predict


@pytest.fixture(scope="module")
def pages(
    composed: Callable[..., DictConfig],
    tiny_demo: tuple[str, ...],
    trained: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    checkpoint = f"checkpoint='{trained}/checkpoints/best.ckpt'"
    video = min(Path(tiny_demo[0].partition("=")[2]).rglob("*.mp4"))
    predict.main(composed("predict", checkpoint, f"input='{video}'"), folder)
    return {"run": trained / "report.html", "prediction": folder / "report.html"}


HEADINGS = {
    "run": ("test split of demo/official", "Results", "Worst errors", "Leaks", "Environment"),
    "prediction": ("1 file: ",),
}


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", list(HEADINGS))
def test_a_page_opens_without_errors_requests_or_sideways_scrolling(
    look: Callable[..., Any], pages: dict[str, Path], name: str, width: int
) -> None:
    seen = look(pages[name], width=width)
    assert seen.errors == []
    assert seen.requests == []
    assert seen.too_wide_px == 0
    for heading in HEADINGS[name]:
        assert any(heading in shown for shown in seen.headings), seen.headings
