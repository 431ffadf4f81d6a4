"""Train a detector on a corpus, keep every epoch, test the best one."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint

from deepfake.config import build, to_plain
from deepfake.corpora.protocols import Protocol
from deepfake.errors import UserError
from deepfake.parallel import keep_freed_memory
from deepfake.records import FAKE, REAL
from deepfake.reports.plots import plot_history
from deepfake.scoring.metrics import goal
from deepfake.tasks.assemble import face_settings, make_datamodule, prepare
from deepfake.tasks.protocol import announced
from deepfake.tasks.results import conclude
from deepfake.tasks.tracking import publish, tracked
from deepfake.tasks.weights import build_detector, take_weights
from deepfake.training.checkpoint import Recipe, read_checkpoint, read_recipe
from deepfake.training.freezing import FreezeBackbone
from deepfake.training.module import MONITORS, DetectorModule
from deepfake.training.progress import EpochLines, hush_copies
from deepfake.training.throughput import Throughput

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> float | None:
    """Extract what is missing, fit, test best.ckpt, fill the run folder; returns the best monitored value."""
    keep_freed_memory()
    hush_copies()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    weights = take_weights(cfg)
    config = to_plain(cfg)
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(config))
    recipe = Recipe(
        net=config["model"]["net"],
        faces=face_settings(cfg).to_dict(),
        eval_windows=config["data"]["eval_windows"],
        eval_hop=config["data"]["eval_hop"],
        min_track_share=config["data"]["min_track_share"],
        track_rule=config["track_rule"],
    )
    resume = checked_resume(config["resume"], recipe)
    detector = build_detector(recipe.net, weights)
    module = DetectorModule(
        detector,
        recipe,
        optimizer=build(config["model"]["optimizer"]),
        schedule=build(config["schedule"]),
        label_smoothing=config["label_smoothing"],
        layer_decay=config["layer_decay"],
        monitor=config["monitor"],
        seed=config["seed"],
    )
    if config["compile"]:
        detector.compile()
    transform = build(config["augment"])
    datamodule = make_datamodule(
        cfg,
        recipe,
        protocol=lambda: announced_for(config, run_dir, reals_only=transform.reals_only),
        transform=transform,
        seed=config["seed"],
    )
    best, *others = make_callbacks(config, run_dir)
    with tracked(config, run_dir) as loggers:
        trainer: pl.Trainer = build(
            config["trainer"], callbacks=[best, *others], logger=loggers, default_root_dir=str(run_dir)
        )
        prepare(trainer, datamodule)
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume)
        trainer.test(module, datamodule=datamodule, ckpt_path=best.best_model_path, verbose=False)
        if trainer.is_global_zero:
            assert module.test_result is not None
            plot_history(
                sorted(run_dir.glob("logs/version_*/metrics.csv")), run_dir / "plots" / "history.png"
            )
            conclude(run_dir, "test", datamodule, module.test_result, module.recipe)
            publish(loggers, run_dir, datamodule.store, step=trainer.global_step, best=best)
    return None if best.best_model_score is None else float(best.best_model_score)


def make_callbacks(config: dict[str, Any], run_dir: Path) -> tuple[ModelCheckpoint, *tuple[Callback, ...]]:
    """The keeper of best.ckpt; those of every epoch and of last.ckpt, progress, and what the config wants."""
    folder, monitor = run_dir / "checkpoints", config["monitor"]
    if monitor not in MONITORS:
        raise UserError(f"monitor={monitor}: must be one of {', '.join(MONITORS)}")
    mode = goal(monitor)
    keep = partial(ModelCheckpoint, folder, enable_version_counter=False, auto_insert_metric_name=False)
    callbacks: list[Callback] = [
        keep(filename="epoch={epoch:03d}", save_top_k=-1, save_last=True),
        EpochLines(),
        LearningRateMonitor(logging_interval="step"),
        Throughput(),
    ]
    if config["save_every_minutes"] is not None:
        interval = timedelta(minutes=config["save_every_minutes"])
        callbacks.append(keep(filename="last", train_time_interval=interval))
    if config["averaging"]:
        callbacks.append(build(config["averaging"]))
    if config["freeze_backbone_epochs"]:
        callbacks.append(FreezeBackbone(config["freeze_backbone_epochs"]))
    if config["early_stopping_patience"] is not None:
        callbacks.append(EarlyStopping(monitor, mode=mode, patience=config["early_stopping_patience"]))
    return keep(filename="best", monitor=monitor, mode=mode), *callbacks


def checked_resume(resume: str | None, recipe: Recipe) -> Path | None:
    """The checkpoint to go on from; raises UserError if it was made with another model or other faces."""
    if resume is None:
        return None
    old = read_recipe(read_checkpoint(Path(resume)))
    for name in ("net", "faces"):
        if getattr(old, name) != getattr(recipe, name):
            raise UserError(
                f"resume={resume}: its {name} settings are not those of this command; repeat the overrides "
                f"in {Path(resume).parent.parent / '.hydra' / 'overrides.yaml'}"
            )
    return Path(resume)


def announced_for(config: dict[str, Any], run_dir: Path, *, reals_only: bool = False) -> Protocol:
    """The run's protocol; raises UserError if a resumed checkpoint was trained by another one."""
    protocol = announced(config["data"], run_dir)
    sizes = Counter((video.split, video.label) for video in protocol.videos)
    if not sizes["train", REAL] or not (reals_only or sizes["train", FAKE]):
        raise UserError(
            f"the training split of {protocol.name} holds {sizes['train', REAL]} real and "
            f"{sizes['train', FAKE]} fake videos; it needs {'real ones' if reals_only else 'both'}: "
            "check data.root, methods and data.protocol"
        )
    for split in ("val", "test"):
        if not sizes[split, REAL] + sizes[split, FAKE]:
            raise UserError(
                f"the {split} split of {protocol.name} is empty: check data.root and data.protocol"
            )
    if config["resume"] is not None:
        trained_by = read_recipe(read_checkpoint(Path(config["resume"]))).protocol
        if trained_by and trained_by["hash"] != protocol.hash:
            raise UserError(
                f"resume={config['resume']}: it was trained by protocol {trained_by['name']} "
                f"({trained_by['hash']}), but these videos and keys give {protocol.name} ({protocol.hash})"
            )
    return protocol
