"""Train a detector on a corpus, keep every epoch, test the best one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint

from deepfake.config import build
from deepfake.corpora.protocols import Protocol, load_training_protocol
from deepfake.errors import UserError
from deepfake.io import remove_stale, short_path, write_text
from deepfake.models.published import read_weights
from deepfake.parallel.pool import keep_freed_memory, return_freed_memory
from deepfake.records import FAKE, REAL
from deepfake.reports.plots import plot_history
from deepfake.reports.run_page import write_results
from deepfake.scoring.decision import Decision, fitted
from deepfake.signals import RUN_AGAIN, explain_early_end
from deepfake.tasks.build import (
    build_detector,
    eval_settings,
    face_settings,
    make_datamodule,
    make_trainer,
    prepare,
    resolve,
)
from deepfake.training.callbacks import make_callbacks, silence_copies
from deepfake.training.checkpoint import Checkpoint, check_resume, read_checkpoint
from deepfake.training.loggers import open_loggers, publish
from deepfake.training.module import DetectorModule

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> float | None:
    """Extract missing faces, train, test best.ckpt, fill the run folder; the best monitored value."""
    silence_copies()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    weights = None if cfg.weights is None else read_weights(Path(cfg.weights))
    config = resolve(cfg, weights)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(config))
    checkpoint = Checkpoint(
        net=config["model"]["net"],
        faces=face_settings(cfg),
        evaluation=eval_settings(config["data"]),
        threshold_rule=config["threshold_rule"],
        decision=initial_decision(config),
    )
    resume = None if config["resume"] is None else Path(config["resume"])
    if resume is not None:
        check_resume(resume, checkpoint)
    detector = build_detector(checkpoint.net, weights)
    if getattr(detector.backbone, "grad_checkpointing", False):
        return_freed_memory()
    else:
        keep_freed_memory()
    module = DetectorModule(
        detector,
        checkpoint,
        optimizer=build(config["model"]["optimizer"], key="model.optimizer"),
        schedule=build(config["schedule"], key="schedule"),
        label_smoothing=config["label_smoothing"],
        layer_decay=config["layer_decay"],
        monitor=config["monitor"],
        fit_decision=partial(
            fitted, threshold_rule=config["threshold_rule"], target_fpr=config["target_fpr"]
        ),
        seed=config["seed"],
    )
    if config["compile"]:
        detector.compile()
    transform = build(config["augment"], key="augment")
    datamodule = make_datamodule(
        cfg,
        checkpoint,
        protocol=lambda: checked_protocol(config, run_dir, reals_only=transform.reals_only),
        transform=transform,
        seed=config["seed"],
    )
    callbacks = make_callbacks(config["callbacks"], run_dir)
    best = callbacks.get("best")
    if not isinstance(best, ModelCheckpoint):
        raise UserError("callbacks.best: training tests the checkpoint that it keeps: it cannot be removed")
    remove_stale(run_dir / "checkpoints")
    with explain_early_end(run_dir, partial(resume_hint, run_dir)), open_loggers(config, run_dir) as loggers:
        trainer = make_trainer(
            config["trainer"], callbacks=[*callbacks.values()], logger=loggers, default_root_dir=str(run_dir)
        )
        prepare(trainer, datamodule)
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
        trainer.test(
            module, datamodule=datamodule, ckpt_path=best.best_model_path, weights_only=True, verbose=False
        )
        if trainer.is_global_zero:
            assert module.test_result is not None
            plot_history(
                sorted(run_dir.glob("logs/version_*/metrics.csv")), run_dir / "plots" / "history.png"
            )
            write_results(
                run_dir,
                "test",
                datamodule,
                module.test_result[0],
                module.checkpoint.decision,
                resamples=config["resamples"],
            )
            publish(loggers, run_dir, datamodule.store, step=trainer.global_step, best=best)
    return None if best.best_model_score is None else float(best.best_model_score)


def resume_hint(run_dir: Path) -> str:
    """How to resume a training that ended early."""
    last = run_dir / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return f"no checkpoint was written yet; {RUN_AGAIN}"
    return f"the same command with resume={short_path(last)} resumes from the last checkpoint"


def initial_decision(config: Mapping[str, Any]) -> Decision:
    """The decision that a config asks for, before validation."""
    names = ("window_rule", "track_rule", "calibrate", "undetermined_margin")
    return Decision(**{name: config[name] for name in names})


def checked_protocol(config: dict[str, Any], run_dir: Path, *, reals_only: bool = False) -> Protocol:
    """The run's protocol; raises UserError for an empty split and if a resumed one had another."""
    protocol = load_training_protocol(config["data"], run_dir)
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
        trained_by = read_checkpoint(Path(config["resume"]), key="resume").protocol
        if trained_by and trained_by["hash"] != protocol.hash:
            raise UserError(
                f"resume={config['resume']}: it was trained by protocol {trained_by['name']} "
                f"({trained_by['hash']}), but these videos and keys give {protocol.name} ({protocol.hash})"
            )
    return protocol
