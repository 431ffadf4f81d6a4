from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="session")
def mesonet_files() -> Path:
    """MesoNet's published weights and two images, which lie beside the checkout on some machines only."""
    root = SHARED / "weights" / "mesonet"
    if not root.is_dir():
        pytest.skip("the published weights in ../shared are not here")
    return root
