from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import DictConfig

from deepfake.data.augment import Sample
from deepfake.errors import UserError
from deepfake.tasks import augment
from deepfake.tasks.augment import Card, show_difference


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


def test_no_cards_is_an_error(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="num_cards=0"):
        augment.main(composed("augment", "num_cards=0"), tmp_path)


def test_a_card_is_as_wide_as_its_window_is_long(tmp_path: Path) -> None:
    def sheet(num_frames: int) -> np.ndarray:
        frames = np.zeros((num_frames, 8, 8, 3), np.uint8)
        before = Sample(frames, np.zeros((num_frames, 5, 2), np.float32), 0)
        cards = [Card(before, before._replace(frames=frames + 9, label=1), "a/b", "real")] * 2
        augment.plot_cards(cards, tmp_path / "sheet.png", title="x")
        return cv2.imread(str(tmp_path / "sheet.png"))

    assert sheet(8).shape == sheet(4).shape
    assert sheet(1).shape[1] < sheet(4).shape[1]


def test_differences_are_enhanced_four_times_on_a_pale_ground() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    after = frames.copy()
    after[0, 0, 0], after[0, 1, 1] = 10, 200
    assert show_difference(frames, after)[0, ..., 0].tolist() == [[205, 245], [245, 0]]
