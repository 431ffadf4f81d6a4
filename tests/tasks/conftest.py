from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def lasting_server() -> Iterator[None]:
    """Keep the server that workers are forked from, which a training stops to free its memory.

    Starting it takes several seconds, and many tests extract and train one after the other.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepfake.tasks.build.stop_server", lambda: None)
        yield
