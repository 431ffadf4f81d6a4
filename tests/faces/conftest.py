from pathlib import Path

import pytest

from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore


@pytest.fixture
def store(tmp_path: Path) -> FaceStore:
    """An empty store with the default settings."""
    return FaceStore(tmp_path / "store", FaceSettings())
