"""The parts that several jobs make from their config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

from deepfake.config import NETS, build, to_plain
from deepfake.corpora.protocols import Protocol
from deepfake.data.augment import WindowTransform
from deepfake.data.datamodule import FaceDataModule
from deepfake.errors import UserError
from deepfake.faces.fill import Filled, fill_store
from deepfake.faces.remote_store import cache_folder, is_url
from deepfake.faces.settings import FOLLOWING, SAMPLING, FaceSettings, looking
from deepfake.faces.store import FaceStore
from deepfake.models.detector import Detector
from deepfake.models.published import read_weights
from deepfake.models.weights import Weights, load_weights
from deepfake.parallel import Executor, stop_server
from deepfake.prediction.predictor import LoadedDetector, Scorer, load_detector
from deepfake.records import Video
from deepfake.training.checkpoint import Recipe, without_downloads
from deepfake.training.checkpoint_io import AtomicCheckpoints, KeepSignalHandler
from deepfake.video.limits import Limits

log = logging.getLogger(__name__)


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
    """The trainer of cfg.trainer (plain), with atomic checkpoints and the process's own signal handler."""
    trainer: pl.Trainer = build(settings, callbacks=[*callbacks, KeepSignalHandler()], **values)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpoints()
    return trainer


def prepare(trainer: pl.Trainer, datamodule: FaceDataModule) -> None:
    """Prepare the data before Lightning starts copies of this process, so that an error is reported once.

    If a launcher has started all processes already, Lightning lets the others wait instead.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None or not environment.creates_processes_externally:
        datamodule.prepare_data()
        stop_server()  # of the extraction


# Detectors that start from weights made elsewhere, for training and for prediction.


def take_weights(cfg: DictConfig) -> Weights | None:
    """The weights that cfg names, if any; cfg.model then wants their kind of crops, unless told otherwise."""
    if cfg.weights is None:
        return None
    weights = read_weights(Path(cfg.weights))
    cfg.published = dict(weights.input)
    return weights


def build_detector(net: dict[str, Any], weights: Weights | None) -> Detector:
    """The detector of a config, to be trained: with the weights in it if there are any."""
    if weights is None:
        return build(net, only=NETS)
    detector: Detector = build(without_downloads(net), only=NETS)
    head = "" if load_weights(detector, weights) else "; the head starts from random ones"
    log.info("weights of %s from %s%s", weights.made_for, weights.path, head)
    return detector


def chosen_detector(cfg: DictConfig, *, device: str) -> LoadedDetector:
    """The detector of cfg.checkpoint, or of cfg.model with cfg.weights, ready to score.

    Raises UserError unless it is one of the two, and where a file has nothing to score with.
    """
    if (cfg.checkpoint is None) == (cfg.weights is None):
        raise UserError(
            "what to predict with? give checkpoint=FILE.ckpt, or else model=… weights=FILE, and not both"
        )
    if cfg.checkpoint is not None:
        if "model" in cfg:
            raise UserError("model=…: a checkpoint brings its own model; leave model= away")
        wanted = face_settings(cfg)
        refuse_other_crops(wanted)
        loaded = load_detector(cfg.checkpoint, device=device)
        settings = looking(loaded.recipe.face_settings, wanted, named_faces())
        check_crops(loaded.detector, settings)
        return loaded.looking(settings)
    if "model" not in cfg:
        raise UserError(f"weights={cfg.weights}: say of which model they are, such as model=meso")
    weights = take_weights(cfg)
    assert weights is not None
    if weights.ours:
        raise UserError(f"weights={weights.path}: our own checkpoint; use checkpoint={weights.path}")
    wanted, usual = face_settings(cfg), FaceSettings()
    as_usual = replace(wanted, **{name: getattr(usual, name) for name in SAMPLING})
    recipe = Recipe(net=to_plain(cfg.model.net), faces=as_usual.to_dict())
    detector: Detector = build(without_downloads(recipe.net), only=NETS)
    if not load_weights(detector, weights):
        raise UserError(
            f"weights={weights.path}: no head of this model's kind in it ({weights.made_for}), so it cannot "
            "tell real from fake yet; train one: scripts/train.py weights=…"
        )
    check_crops(detector, wanted)
    loaded = LoadedDetector(detector.eval().to(device), recipe, Path(cfg.weights), device)
    return loaded.looking(wanted)


def named_faces() -> set[str]:
    """The face settings that the command itself names: such a value counts even where it is the usual one."""
    if not HydraConfig.initialized():
        return set()
    keys = (override.lstrip("+").partition("=")[0] for override in HydraConfig.get().overrides.task)
    return {key.removeprefix("faces.") for key in keys if key.startswith("faces.")}


def refuse_other_crops(wanted: FaceSettings) -> None:
    """Raise UserError where settings beside a checkpoint ask for more than another look at the video."""
    usual = FaceSettings()
    looks = {name: getattr(wanted, name) for name in (*SAMPLING, *FOLLOWING)}
    if changed := wanted.differences(replace(usual, **looks)):
        raise UserError(f"faces: a checkpoint brings its own settings; leave these away: {changed}")


def check_crops(detector: Scorer, faces: FaceSettings) -> None:
    """Raise UserError where faces are cut too tightly, or in too short clips, for the detector."""
    spec = detector.input
    if spec.margin > faces.margin:
        raise UserError(
            f"faces.margin={faces.margin}: the model wants wider crops; add faces.margin={spec.margin}"
        )
    if faces.num_clips is not None and spec.span > faces.clip_frames:
        raise UserError(
            f"faces.clip_frames={faces.clip_frames}: the model's window spans {spec.span} frames; add "
            f"faces.clip_frames={spec.span}"
        )
