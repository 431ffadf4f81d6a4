from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from omegaconf import DictConfig

from deepfake.tasks import augment


def test_one_command_shows_windows_before_and_after(
    composed: Callable[..., DictConfig],
    tiny_demo: tuple[str, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    overrides = (*tiny_demo, "faces.num_clips=2", "model=meso", "augment=selfblend")
    augment.main(composed("augment", *overrides, "num_cards=4"), tmp_path)
    assert "4 of 4 windows changed, 2 became fake" in caplog.text
    assert cv2.imread(str(tmp_path / "augment.png")).std() > 20
