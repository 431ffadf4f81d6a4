"""The whole way in small: two videos are rendered, extracted, trained on, evaluated and predicted."""

from __future__ import annotations

import logging
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from deepfake.corpora.demo.corpus import person_of
from deepfake.corpora.demo.fakes import real_frames, reenacted_frames
from deepfake.corpora.demo.footage import random_footage
from deepfake.io import write_csv
from deepfake.records import SPLITS
from deepfake.video.write import write_video

CONF = Path(__file__).parents[2] / "conf"
NUM_FRAMES = 12
FACES = ("faces.num_clips=1", f"faces.clip_frames={NUM_FRAMES}")
# two processes: extraction goes through Dask, and loading through a process, as in earnest
DATA = (
    "data=csv",
    "data.num_workers=1",
    "data.batch_size=4",
    "data.eval_windows=4",
    "parallel.num_workers=2",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How a stage went: ok, failed, skipped, or running still; the seconds it took; the error in a line."""

    stage: str
    status: str
    seconds: float | None = None
    error: str = ""


def stages(folder: Path, log: StringIO) -> Iterator[Stage]:
    """Each stage twice, running and over; those after one that failed are skipped, as they need its result.

    folder: where all files go. log: takes what the jobs say, and tracebacks.
    """
    failed = False
    for name, work in STAGES.items():
        if failed:
            yield Stage(stage=name, status="skipped")
            continue
        yield Stage(stage=name, status="running")
        start, error = time.perf_counter(), ""
        with told_to(log):
            try:
                work(folder)
            except (Exception, SystemExit) as err:
                traceback.print_exc(file=log)
                error = " ".join(f"{type(err).__name__}: {err}".split())
        failed = bool(error)
        seconds = round(time.perf_counter() - start, 2)
        yield Stage(stage=name, status="failed" if failed else "ok", seconds=seconds, error=error)


@contextmanager
def told_to(log: StringIO) -> Iterator[None]:
    """What is printed and logged meanwhile goes there instead."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = [logging.StreamHandler(log)]
    try:
        with redirect_stdout(log), redirect_stderr(log):
            yield
    finally:
        root.handlers[:] = handlers


def render(folder: Path) -> None:
    """A real video of NUM_FRAMES frames and a fake one made from it, in each split the same two."""
    rng = np.random.default_rng(0)
    footage = random_footage(rng, person_of(0, 0))
    frames = list(islice(real_frames(footage), NUM_FRAMES))
    made = {"real": frames, "fake": reenacted_frames(rng, footage, iter(frames))}
    rows = []
    for label, pictures in made.items():
        film = folder / f"{label}.mp4"
        write_video(film, pictures, fps=footage.fps)
        for split in SPLITS:
            shutil.copyfile(film, folder / f"{split}_{label}.mp4")
            rows.append({"path": f"{split}_{label}.mp4", "label": label, "split": split})
    write_csv(folder / "videos.csv", ("path", "label", "split"), rows)


def extract(folder: Path) -> None:
    """Fill a store with all faces; RuntimeError where none is found on the real video."""
    from deepfake.tasks import extract as task

    config = composed("extract", *places(folder), *FACES, *DATA[:1], *DATA[-1:])
    task.main(config, run_folder(folder, "extract"))


def train(folder: Path) -> None:
    """One epoch of Meso-4, tested."""
    from deepfake.tasks import train as task

    short = ("trainer.max_epochs=1", "resamples=0", "data.windows_per_video=4")
    config = composed("train", *places(folder), *FACES, *DATA, *short)
    task.main(config, run_folder(folder, "train"))


def evaluate(folder: Path) -> None:
    """The checkpoint on the validation split."""
    from deepfake.tasks import evaluate as task

    data = [one for one in DATA if "eval_windows" not in one]
    config = composed("evaluate", *places(folder), *data, checkpoint(folder), "split=val", "resamples=0")
    task.main(config, run_folder(folder, "evaluate"))


def predict(folder: Path) -> None:
    """Both videos by the checkpoint, with pages."""
    from deepfake.tasks import predict as task

    films = ",".join(quoted(folder / f"{label}.mp4") for label in ("real", "fake"))
    config = composed("predict", checkpoint(folder), f"input=[{films}]", DATA[-1])
    task.main(config, run_folder(folder, "predict"))


STAGES: dict[str, Callable[[Path], None]] = {
    "render": render,
    "extract": extract,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
}


def composed(task: str, *overrides: str) -> DictConfig:
    """The config that the task's command would make."""
    if GlobalHydra.instance().is_initialized():  # within a command
        return compose(task, list(overrides))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(task, list(overrides))


def places(folder: Path) -> tuple[str, str]:
    """Where the videos are listed, and where their faces go."""
    return f"data.root={quoted(folder / 'videos.csv')}", f"data.store={quoted(folder / 'store')}"


def checkpoint(folder: Path) -> str:
    """What the training left."""
    return f"checkpoint={quoted(folder / 'train' / 'checkpoints' / 'best.ckpt')}"


def quoted(path: Path) -> str:
    """A path as Hydra's grammar takes it."""
    return "'" + str(path).replace("'", "\\'") + "'"


def run_folder(folder: Path, task: str) -> Path:
    """An empty folder for a task."""
    (folder / task).mkdir()
    return folder / task
