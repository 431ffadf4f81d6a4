"""The parts that several jobs make from their config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from deepfake.config import NETS, build, to_plain
from deepfake.data.windows import EvalSettings
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.weights import Weights, load_weights
from deepfake.parallel.pool import Executor, stop_server
from deepfake.prediction.detector import LoadedDetector, load_detector
from deepfake.records import Video
from deepfake.training.checkpoint import Checkpoint, without_downloads
from deepfake.video.probe import Limits

if TYPE_CHECKING:  # prediction does without stores, loaders and Lightning
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback

    from deepfake.corpora.protocols import Protocol
    from deepfake.data.augment import WindowTransform
    from deepfake.data.datamodule import FaceDataModule
    from deepfake.faces.extract_corpus import CorpusExtraction
    from deepfake.faces.store import FaceStore

log = logging.getLogger(__name__)

LOADING = ("batch_size", "num_workers", "prefetch_factor", "windows_per_video", "balance", "overfit_windows")


def face_settings(cfg: DictConfig) -> FaceSettings:
    """The extraction settings in cfg.faces."""
    return FaceSettings.from_dict(
        {name: value for name, value in to_plain(cfg.faces).items() if name != "overwrite"}
    )


def eval_settings(data: Mapping[str, Any]) -> EvalSettings:
    """The settings of scored windows in cfg.data (plain)."""
    return EvalSettings(
        max_windows=data["eval_windows"], hop=data["eval_hop"], min_track_share=data["min_track_share"]
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
    from deepfake.faces.remote_store import cache_folder, is_url
    from deepfake.faces.store import FaceStore

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


def make_extraction(cfg: DictConfig, store: FaceStore) -> Callable[[Sequence[Video]], CorpusExtraction]:
    """The function that extracts what the store lacks of some videos, as cfg asks."""
    from deepfake.faces.extract_corpus import extract_corpus

    executor, device = make_executor(cfg), cfg.parallel.device
    return partial(
        extract_corpus,
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
    checkpoint: Checkpoint,
    *,
    protocol: Callable[[], Protocol],
    transform: WindowTransform | None = None,
    seed: int = 0,
) -> FaceDataModule:
    """Corpus, store and loaders of cfg.data, for the detector of a checkpoint."""
    from deepfake.data.datamodule import FaceDataModule

    data = to_plain(cfg.data)
    store = make_store(data, checkpoint.faces)
    return FaceDataModule(
        protocol=protocol,
        store=store,
        extract=make_extraction(cfg, store),
        spec=build(checkpoint.net["input"], only=NETS),
        transform=transform,
        evaluation=checkpoint.evaluation,
        seed=seed,
        **{name: data[name] for name in LOADING},
    )


def make_trainer(
    settings: Mapping[str, Any], *, callbacks: Sequence[Callback] = (), **values: Any
) -> pl.Trainer:
    """The trainer of cfg.trainer (plain), with atomic checkpoints and the process's own signal handler."""
    from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

    from deepfake.training.callbacks import AtomicCheckpoints, KeepSignalHandler

    trainer: pl.Trainer = build(
        settings, key="trainer", callbacks=[*callbacks, KeepSignalHandler()], **values
    )
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


def resolve(cfg: DictConfig, weights: Weights | None) -> dict[str, Any]:
    """cfg as plain values; its model gets the crops that weights are made for, unless told otherwise."""
    if weights is not None:
        cfg = deepcopy(cfg)
        cfg.published = dict(weights.input)
    return to_plain(cfg)


def build_detector(net: dict[str, Any], weights: Weights | None) -> Detector:
    """The detector of a config, to be trained: with the weights in it if there are any."""
    if weights is None:
        return build(net, only=NETS)
    detector: Detector = build(without_downloads(net), only=NETS)
    head = "" if load_weights(detector, weights) else "; the head starts from random ones"
    log.info("weights of %s from %s%s", weights.made_for, weights.path, head)
    return detector


def choose_detector(cfg: DictConfig, *, device: str) -> LoadedDetector:
    """The detector of cfg.checkpoint, or of cfg.model with cfg.weights, ready to score as cfg.faces asks.

    Raises UserError unless it is one of the two, and as load_detector does.
    """
    if (cfg.checkpoint is None) == (cfg.weights is None):
        raise UserError(
            "what to predict with? give checkpoint=FILE.ckpt, or else model=… weights=FILE, and not both"
        )
    faces = to_plain(cfg.faces)
    if cfg.checkpoint is not None:
        if "model" in cfg:
            raise UserError("model=…: a checkpoint brings its own model; leave model= away")
        return load_detector(cfg.checkpoint, device=device, faces=faces)
    from deepfake.models.published import read_weights

    if "model" not in cfg:
        raise UserError(f"weights={cfg.weights}: say of which model they are, such as model=meso")
    net = resolve(cfg, read_weights(Path(cfg.weights)))["model"]["net"]
    return load_detector(cfg.weights, device=device, net=net, faces=faces)
