from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from deepfake.cli import CONF, run_folder, study_direction

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """The config that a command line makes: composed("train", "model=meso"); hydra: with Hydra's own."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("study_direction", study_direction, replace=True)

    def make(task: str, *overrides: str, hydra: bool = False) -> DictConfig:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(task, list(overrides), return_hydra_config=hydra)

    return make


def shared_folder(*parts: str) -> Path:
    """A folder below ../shared, which lies beside the checkout on some machines only."""
    folder = SHARED.joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"../shared/{'/'.join(parts)} is not here")
    return folder


@pytest.fixture(scope="session")
def ffpp_videos() -> Path:
    """Root of four real FaceForensics++ videos."""
    return shared_folder("videos", "ffpp")


@pytest.fixture(scope="session")
def mesonet_files() -> Path:
    """MesoNet's published weights and two images."""
    return shared_folder("weights", "mesonet")


@pytest.fixture(scope="session")
def tiny_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides for a demo corpus of a few identities and small, fast runs on it."""
    folder = tmp_path_factory.mktemp("demo")
    return (
        f"data.root={folder / 'videos'}",
        f"data.store={folder / 'store'}",
        "data.num_identities=6",
        "data.num_workers=0",
        "data.batch_size=8",
    )


FAST = ("trainer=cpu", "data.windows_per_video=1", "data.eval_windows=3", "faces.num_clips=2")


@pytest.fixture(scope="session")
def trained(
    composed: Callable[..., DictConfig], tiny_demo: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run folder of a short training on the tiny demo corpus."""
    from deepfake.tasks import train

    run_dir = tmp_path_factory.mktemp("trained")
    train.main(composed("train", *tiny_demo, *FAST, "trainer.max_epochs=2"), run_dir)
    return run_dir
