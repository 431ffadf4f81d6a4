"""The parts that several jobs make from their config."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig

from deepfake.config import build, to_plain
from deepfake.data.datamodule import FaceDataModule
from deepfake.data.transforms import WindowTransform
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.records import InputSpec


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


def make_store(cfg: DictConfig, settings: FaceSettings) -> FaceStore:
    """The store that cfg.data names."""
    return FaceStore(Path(to_plain(cfg.data)["store"]), settings)


def make_datamodule(
    cfg: DictConfig,
    *,
    settings: FaceSettings,
    spec: InputSpec,
    eval_windows: int,
    min_track_share: float,
    transform: WindowTransform | None = None,
    seed: int = 0,
) -> FaceDataModule:
    """Corpus, store and loaders of cfg.data, for a model that wants spec."""
    data = to_plain(cfg.data)
    return FaceDataModule(
        videos=build(data["corpus"]),
        store=make_store(cfg, settings),
        spec=spec,
        transform=transform,
        batch_size=data["batch_size"],
        num_workers=data["num_workers"],
        windows_per_video=data["windows_per_video"],
        eval_windows=eval_windows,
        min_track_share=min_track_share,
        seed=seed,
        device=pick_device(cfg.parallel.device),
        extract_workers=cfg.parallel.num_workers,
        overwrite=cfg.faces.overwrite,
    )
