"""Score a split of any corpus with a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import RichProgressBar

from deepfake.config import build, to_plain
from deepfake.errors import UserError
from deepfake.records import SPLITS
from deepfake.reports.tables import shown
from deepfake.tasks.assemble import make_datamodule
from deepfake.tasks.protocol import announced_against
from deepfake.tasks.results import print_metrics, split_metrics, video_rows, write_results
from deepfake.training.allocator import keep_freed_memory
from deepfake.training.checkpoint import load_detector
from deepfake.training.module import DetectorModule

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Extract what is missing with the checkpoint's settings, score, fill the run folder."""
    keep_freed_memory()
    config = to_plain(cfg)
    if config["split"] not in SPLITS:
        raise UserError(f"split={config['split']}: must be one of {', '.join(SPLITS)}")
    detector, recipe = load_detector(Path(config["checkpoint"]))
    datamodule = make_datamodule(
        cfg,
        recipe,
        protocol=lambda: announced_against(config, recipe.protocol, run_dir),
    )
    datamodule.test_split = config["split"]
    module = DetectorModule(detector, recipe)
    trainer: pl.Trainer = build(
        config["trainer"], callbacks=[RichProgressBar()], logger=False, enable_checkpointing=False
    )
    trainer.test(module, datamodule=datamodule, verbose=False)
    if not trainer.is_global_zero:
        return
    assert module.test_result is not None
    scores, labels = module.test_result
    split = datamodule.split(config["split"])
    if not split:
        raise UserError(f"split={config['split']}: no video of {config['data']['root']} belongs to it")
    metrics = split_metrics(config["split"], split, scores, labels, recipe)
    rows = video_rows(datamodule.manifest, split, scores, recipe)
    write_results(
        run_dir,
        rows,
        metrics,
        protocol=datamodule.stamp,
        threshold=recipe.threshold,
        store=datamodule.store,
    )
    print_metrics(f"{config['split']} split of {datamodule.stamp['name']}", metrics)
    log.info("results in %s", shown(run_dir))
