import sys
from pathlib import Path

import pytest

from deepfake.prediction.detector import LoadedDetector, load_detector

sys.path.insert(0, str(Path(__file__).parents[1] / "video"))  # for films.py


@pytest.fixture(scope="session")
def detector(quick_checkpoint: Path) -> LoadedDetector:
    """The detector of that checkpoint."""
    return load_detector(quick_checkpoint, device="cpu")
