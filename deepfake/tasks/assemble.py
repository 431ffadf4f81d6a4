"""The parts that several jobs make from their config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

from deepfake.config import NETS, build, to_plain
from deepfake.corpora.protocols import Protocol
from deepfake.data.datamodule import FaceDataModule
from deepfake.data.transforms import WindowTransform
from deepfake.errors import UserError
from deepfake.faces.fill import Filled, fill_store
from deepfake.faces.mirror import cache_folder, is_url
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.parallel import Executor
from deepfake.records import Video
from deepfake.training.checkpoint import Recipe
from deepfake.training.keeping import OwnSignals, WholeCheckpoints
from deepfake.video.limits import Limits


def face_settings(cfg: DictConfig) -> FaceSettings:
    """The extraction settings in cfg.faces."""
    return FaceSettings.from_dict(
        {name: value for name, value in to_plain(cfg.faces).items() if name != "overwrite"}
    )


def pick_device(name: str) -> str:
    """ "auto" becomes "cuda" where there is one, else "cpu"; raises UserError for a GPU that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"parallel.device={name}: no CUDA device found; use parallel.device=cpu")
    return name


def make_store(data: Mapping[str, Any], settings: FaceSettings) -> FaceStore:
    """The store that cfg.data (plain) names; of joint corpora each one's crops stay in its own."""
    places = {"": data["store"]} | {name: part["store"] for name, part in data.get("corpora", {}).items()}
    urls = {part: place for part, place in places.items() if is_url(place)}
    folders = {
        part: cache_folder(place, Path(data["cache"])) if part in urls else Path(place)
        for part, place in places.items()
    }
    return FaceStore(folders.pop(""), settings, folders, urls)


def make_executor(cfg: DictConfig) -> Executor:
    """Where cfg.parallel wants videos to be worked on."""
    return Executor(**{name: value for name, value in to_plain(cfg.parallel).items() if name != "device"})


def make_limits(cfg: DictConfig) -> Limits:
    """What a file may be, of cfg.limits."""
    return Limits(**to_plain(cfg.limits))


def make_fill(cfg: DictConfig, store: FaceStore) -> Callable[[Sequence[Video]], Filled]:
    """The function that extracts what the store lacks of some videos, as cfg asks."""
    executor, device = make_executor(cfg), cfg.parallel.device
    return partial(
        fill_store,
        store,
        executor=executor,
        # a cluster may have GPUs where this machine has none
        device=pick_device(device) if executor.address is None else device,
        overwrite=cfg.faces.overwrite,
        main_face=cfg.data.main_face,
        limits=make_limits(cfg),
    )


def make_datamodule(
    cfg: DictConfig,
    recipe: Recipe,
    *,
    protocol: Callable[[], Protocol],
    transform: WindowTransform | None = None,
    seed: int = 0,
) -> FaceDataModule:
    """Corpus, store and loaders of cfg.data, for the detector of a recipe."""
    data = to_plain(cfg.data)
    store = make_store(data, recipe.face_settings)
    return FaceDataModule(
        protocol=protocol,
        store=store,
        fill=make_fill(cfg, store),
        spec=build(recipe.net["input"], only=NETS),
        transform=transform,
        batch_size=data["batch_size"],
        num_workers=data["num_workers"],
        prefetch_factor=data["prefetch_factor"],
        windows_per_video=data["windows_per_video"],
        balance=data["balance"],
        overfit_windows=data["overfit_windows"],
        eval_windows=recipe.eval_windows,
        eval_hop=recipe.eval_hop,
        min_track_share=recipe.min_track_share,
        seed=seed,
    )


def make_trainer(
    settings: Mapping[str, Any], *, callbacks: Sequence[Callback] = (), **values: Any
) -> pl.Trainer:
    """The trainer of cfg.trainer (plain), which a signal ends at once and which leaves no half checkpoint."""
    trainer: pl.Trainer = build(settings, callbacks=[*callbacks, OwnSignals()], **values)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()
    return trainer


def prepare(trainer: pl.Trainer, datamodule: FaceDataModule) -> None:
    """Prepare the data before Lightning starts copies of this process, so that errors are those of one.

    Where a launcher has started all processes already, Lightning lets the others wait.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None or not environment.creates_processes_externally:
        datamodule.prepare_data()
