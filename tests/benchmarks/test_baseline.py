from pathlib import Path

import numpy as np
import pytest
from facenet_pytorch import MTCNN
from PIL import Image

from benchmarks.baseline import baseline_crops, baseline_detector, largest, main_boxes
from benchmarks.films import Film


@pytest.fixture(scope="module")
def detector() -> MTCNN:
    return baseline_detector("cpu")


def test_the_main_box_is_the_one_that_the_packaged_rule_picks(detector: MTCNN) -> None:
    assert detector.selection_method == "largest"
    boxes = np.array([[0, 0, 10, 30], [5, 5, 25, 24], [0, 0, 19, 19]], np.float32)  # 300, 380, 361 px
    probs, points = np.array([0.99, 0.8, 1.0]), np.zeros((3, 5, 2))
    picked, _, _ = detector.select_boxes(boxes, probs, points, Image.new("RGB", (30, 30)), method="largest")
    assert largest(boxes) == pytest.approx(picked)
    assert largest(boxes) == pytest.approx(boxes[[1]])


def test_no_box_has_no_main_box(detector: MTCNN) -> None:
    assert largest(None) is None
    assert main_boxes([Image.new("RGB", (90, 90))] * 2, detector) == [None, None]


def test_the_usual_script_cuts_a_face_out_of_every_sampled_frame(tmp_path: Path, detector: MTCNN) -> None:
    film = Film(folder=tmp_path, width=320, height=240, num_frames=7)
    film.render()
    crops = baseline_crops(film.path, detector, num_frames=3)
    assert [tuple(crop.shape) for crop in crops] == [(3, 224, 224)] * 3
