from pathlib import Path

import cv2
import numpy as np

from deepfake.reports.contact_sheet import AugmentedWindow, plot_augmented, show_difference


def test_a_card_is_as_wide_as_its_window_is_long(tmp_path: Path) -> None:
    def sheet(num_frames: int) -> np.ndarray:
        frames = np.zeros((num_frames, 8, 8, 3), np.uint8)
        windows = [AugmentedWindow(frames, frames + 9, (0, 1), "", "a/b", "real")] * 2
        plot_augmented(windows, tmp_path / "sheet.png", title="x")
        return cv2.imread(str(tmp_path / "sheet.png"))

    assert sheet(8).shape == sheet(4).shape
    assert sheet(1).shape[1] < sheet(4).shape[1]


def test_differences_are_enhanced_four_times_on_a_pale_ground() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    after = frames.copy()
    after[0, 0, 0], after[0, 1, 1] = 10, 200
    assert show_difference(frames, after)[0, ..., 0].tolist() == [[205, 245], [245, 0]]
