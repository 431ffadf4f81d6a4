import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings
from omegaconf import DictConfig
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from deepfake.cli import CONF, register_resolvers

# a shell's background jobs ignore these, and so would all that tests start and want to interrupt
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)

# the same few examples everywhere; a thousand new ones: pytest --hypothesis-profile=deep tests/…
settings.register_profile("steady", derandomize=True, max_examples=25, deadline=None)
settings.register_profile("deep", max_examples=1000, deadline=None)
settings.load_profile("steady")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHARED = Path(__file__).parents[1].parent / "shared"
sys.path.insert(0, str(Path(__file__).parent))  # for modules that tests share

from requirements import skip_missing  # noqa: E402

LONG_FILES = """
    golden/test_golden corpora/test_demo tasks/test_sweep test_connections tasks/test_interruption
    tasks/test_stops tasks/test_processes app/test_page tasks/test_loggers tasks/test_resume
    tasks/test_overfit tasks/test_predict prediction/test_heat_on_fakes test_extension tasks/test_weights
""".split()
"""Begun first, so that no worker has a long file left when the other one has ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = (
            item.path.relative_to(root).with_suffix("").as_posix() if item.path.is_relative_to(root) else ""
        )
        return LONG_FILES.index(name) if name in LONG_FILES else len(LONG_FILES)

    items.sort(key=place)


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """The config that a command line makes: composed("train", "model=meso"); hydra: with Hydra's own."""
    register_resolvers()

    def make(task: str, *overrides: str, hydra: bool = False) -> DictConfig:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(task, list(overrides), return_hydra_config=hydra)

    return make


@dataclass(frozen=True)
class Ended:
    """The exit status of a command, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ended]]:
    """Run a script's command in this process: command("train", "model=meso"); two minutes are its limit.

    Not for command lines that Hydra refuses itself: it raises where it takes coverage for a debugger.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)

    def run(task: str, *arguments: str) -> Ended:
        from deepfake import cli

        module = "benchmarks.run" if task == "benchmark" else None
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [f"{task}.py", *arguments])
        capsys.readouterr()
        signal.alarm(120)
        try:
            with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
                cli.run(task, module)
        finally:
            signal.alarm(0)
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    yield run
    for handler in root.handlers[:]:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    GlobalHydra.instance().clear()


def shared_path(*parts: str) -> Path:
    """A file or folder below ../shared, which lies beside the checkout on some machines only."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        skip_missing(f"../shared/{'/'.join(parts)} is not here")
    return path


@pytest.fixture(scope="session")
def ffpp_videos() -> Path:
    """Root of four real FaceForensics++ videos."""
    return shared_path("videos", "ffpp")


@pytest.fixture(scope="session")
def mesonet_files() -> Path:
    """MesoNet's published weights and two images."""
    return shared_path("weights", "mesonet")


@pytest.fixture(scope="session")
def offline() -> Callable[[Path], dict[str, str]]:
    """The environment of a process that cannot connect to other machines; attempts are in folder/refused."""

    def environment(folder: Path) -> dict[str, str]:
        (folder / "refused").touch()
        places = (str(Path(__file__).parent / "offline"), str(Path(__file__).parents[1]))
        path = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
        return os.environ | {"PYTHONPATH": path, "REFUSED_CONNECTIONS": str(folder / "refused")}

    return environment


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder that all processes of pytest-xdist share and one of them fills: filled_once(name, fill)."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)

    def make(name: str, fill: Callable[[Path], object] = lambda folder: None) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_demo(filled_once: Callable[..., Path]) -> tuple[str, ...]:
    """Overrides for a demo corpus of a few identities and small, fast runs on it."""
    folder = filled_once("demo")
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
    composed: Callable[..., DictConfig], tiny_demo: tuple[str, ...], filled_once: Callable[..., Path]
) -> Path:
    """The run folder of a short training on the tiny demo corpus."""

    def fill(folder: Path) -> None:
        from deepfake.tasks import train

        (folder / "run").mkdir()
        train.main(composed("train", *tiny_demo, *FAST, "trainer.max_epochs=2"), folder / "run")

    return filled_once("trained", fill) / "run"


@pytest.fixture(scope="session")
def face() -> np.ndarray:
    """A person of the demo corpus at the left of a picture, (128, 192, 3) uint8."""
    from deepfake.corpora.demo.face import Person
    from deepfake.corpora.demo.footage import random_footage, real_frames

    rng = np.random.default_rng(0)
    whole = next(real_frames(random_footage(rng, Person(rng, tone=0.3))))
    side = min(whole.shape[:2])
    left = (whole.shape[1] - side) // 2
    square = Image.fromarray(np.ascontiguousarray(whole[:side, left : left + side]))
    return np.concatenate([square.resize((128, 128)), np.zeros((128, 64, 3), np.uint8)], axis=1)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a checkpoint of an untrained little Meso-4: make_checkpoint(seed=0, threshold=0.4, faces=…)."""
    import torch

    from deepfake.config import build
    from deepfake.faces.settings import FaceSettings
    from deepfake.scoring.decision import Decision
    from deepfake.training.checkpoint import KEY, WEIGHTS, Checkpoint

    def make(seed: int = 0, *, threshold: float = 0.5, **values: Any) -> Path:
        net = {
            "_target_": "deepfake.models.detector.Detector",
            "backbone": {"_target_": "deepfake.models.mesonet.Meso4", "image_size": 32},
            "head": {"_target_": "deepfake.models.heads.LinearHead", "_partial_": True},
            "input": {
                "_target_": "deepfake.records.InputSpec",
                "size": 32,
                "margin": 1.3,
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
                "window": 1,
                "stride": 1,
            },
        }
        faces = FaceSettings(num_clips=1, clip_frames=4, detect_every=3, short_side_px=128, smooth_frames=1)
        told = Checkpoint(**{"net": net, "faces": faces, "decision": Decision(threshold=threshold), **values})
        torch.manual_seed(seed)
        state = {WEIGHTS + name: value for name, value in build(net).state_dict().items()}
        path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
        torch.save({KEY: told.to_dict(), "state_dict": state}, path)
        return path

    return make


@pytest.fixture(scope="session")
def quick_checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """A checkpoint that scores a small film in a moment, with a fitted threshold; it tells nothing apart."""
    from deepfake.corpora.leakage import Footprint

    nobody = Footprint.of([]).to_dict()
    seen = {"train": nobody, "val": nobody}
    protocol = {"name": "demo/official", "hash": "0123456789abcdef", "seen": seen}
    return make_checkpoint(threshold=0.4, threshold_rule="eer", protocol=protocol)


@pytest.fixture(scope="session")
def quick_video(face: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of ten frames that all show the face."""
    from deepfake.video.write import write_video

    path = tmp_path_factory.mktemp("quick") / "face.mp4"
    write_video(path, [face] * 10, fps=25)
    return path


@pytest.fixture(scope="session")
def scene_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A video of several people by its name in multi_person_scenes.SCENES, rendered once."""
    from multi_person_scenes import write_scene

    return cache(partial(write_scene, folder=tmp_path_factory.mktemp("scenes")))


@dataclass(frozen=True)
class Seen:
    """Console errors and exceptions, requests beside that of the page, pixels past its right edge."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    too_wide_px: int = 0
    headings: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """An installed Chromium; tests that need it are skipped where there is none."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        skip_missing("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def look(browser: Browser) -> Callable[..., Seen]:
    """Open a page at a width: look(file, width=400); picture: where a screenshot of all of it goes."""

    def run(page_file: Path, *, width: int, picture: Path | None = None) -> Seen:
        errors: list[str] = []
        requests: list[str] = []
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: (errors.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri(), wait_until="networkidle")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.alt)")
        if page.evaluate("'hacked' in window"):
            errors.append("a script ran that was only a name")
        headings = tuple(page.locator("h1, h2").all_inner_texts())
        if picture is not None:
            page.screenshot(path=picture, full_page=True)
        page.close()
        others = [url for url in requests if url != page_file.as_uri() and not url.startswith("data:")]
        return Seen(errors + [f"broken picture: {alt}" for alt in broken], others, wide, headings)

    return run
