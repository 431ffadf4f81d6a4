from collections.abc import Callable, Sequence

import numpy as np
import pytest

from deepfake.scoring.aggregate import WindowScores

Row = tuple[int, int, int, float]
Scored = Callable[[Sequence[Row]], WindowScores]


@pytest.fixture
def scored() -> Scored:
    """Window scores of rows (video, track, start, prob); a window is one frame."""

    def make(rows: Sequence[Row]) -> WindowScores:
        video, track, start = (np.array([row[i] for row in rows], np.int64) for i in range(3))
        prob = np.array([row[3] for row in rows], np.float64)
        return WindowScores(video, track, start, np.log(prob) - np.log1p(-prob), start[:, None])

    return make
