from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from extracted import FakeExtraction

from deepfake.faces import extract_corpus as corpus_module
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.parallel.pool import Executor


@pytest.fixture
def store(tmp_path: Path) -> FaceStore:
    """An empty store with the default settings."""
    return FaceStore(tmp_path / "store", FaceSettings())


@pytest.fixture
def extracted(extraction: FakeExtraction) -> list[str]:
    """Names of the videos that were extracted, in order."""
    return extraction.names


@pytest.fixture
def extract_corpus(extraction: FakeExtraction) -> Callable[..., corpus_module.CorpusExtraction]:
    """extract_corpus in this process with the test module's extraction."""
    return partial(corpus_module.extract_corpus, executor=Executor(num_workers=0), extract=extraction)
