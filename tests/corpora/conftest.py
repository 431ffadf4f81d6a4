import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from requirements import skip_missing

from deepfake.corpora.ffpp import METHODS

LISTS = Path(__file__).parents[2].parent / "shared" / "lists"
Touch = Callable[[Path, Iterable[str]], Path]


@pytest.fixture(scope="session")
def touch() -> Touch:
    """touch(root, names) makes empty files and their folders, and returns root."""

    def make(root: Path, names: Iterable[str]) -> Path:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return root

    return make


@pytest.fixture(scope="session")
def lists() -> Path:
    """Official split and name lists, which lie beside the checkout on some machines only."""
    if not LISTS.is_dir():
        skip_missing("the official lists in ../shared are not here")
    return LISTS


@pytest.fixture(scope="session")
def whole_celebdf(tmp_path_factory: pytest.TempPathFactory, touch: Touch, lists: Path) -> Path:
    """Celeb-DF v2 as downloaded, all files empty."""
    root = tmp_path_factory.mktemp("Celeb-DF-v2")
    touch(root, (lists / "celebdf" / "v2_all_videos.txt").read_text().split())
    name = "List_of_testing_videos.txt"
    (root / name).write_bytes((lists / "celebdf" / name).read_bytes())
    return root


@pytest.fixture(scope="session")
def whole_ffpp(tmp_path_factory: pytest.TempPathFactory, touch: Touch, lists: Path) -> Path:
    """FaceForensics++ c23 with five methods and all lists, all videos empty."""
    root = tmp_path_factory.mktemp("FaceForensics++")
    (root / "splits").mkdir()
    for name in ("train", "val", "test", "conversion_dict"):
        (root / "splits" / f"{name}.json").write_bytes((lists / "ffpp" / f"{name}.json").read_bytes())
    pairs = [
        pair
        for name in ("train", "val", "test")
        for pair in json.loads((root / "splits" / f"{name}.json").read_text())
    ]
    fakes = [f"{a}_{b}" for a, b in pairs] + [f"{b}_{a}" for a, b in pairs]
    touch(root / "original_sequences/youtube/c23/videos", [f"{number:03}.mp4" for number in range(1000)])
    for method in METHODS[:5]:
        touch(root / f"manipulated_sequences/{method}/c23/videos", [f"{fake}.mp4" for fake in fakes])
    return root
