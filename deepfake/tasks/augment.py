"""Show what an augmentation does to the windows that training would draw."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from deepfake.config import build, to_plain
from deepfake.corpora.protocols import load_training_protocol
from deepfake.data.dataset import WindowDataset
from deepfake.io import short_path
from deepfake.records import Window
from deepfake.reports.contact_sheet import AugmentedWindow, plot_augmented
from deepfake.tasks.build import eval_settings, face_settings, make_datamodule
from deepfake.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Extract what is missing, draw an epoch's first windows and write augment.png."""
    data = to_plain(cfg.data)
    checkpoint = Checkpoint(
        net={"input": to_plain(cfg.model.net.input)},
        faces=face_settings(cfg),
        evaluation=eval_settings(data),
    )
    transform = build(cfg.augment, key="augment")
    datamodule = make_datamodule(
        cfg,
        checkpoint,
        protocol=lambda: load_training_protocol(data, run_dir),
        transform=transform,
        seed=cfg.seed,
    )
    datamodule.prepare_data()
    datamodule.setup()
    rows = datamodule.manifest
    dataset = WindowDataset(datamodule.stored_crops())

    def augment(window: Window) -> AugmentedWindow:
        before, row = dataset.read(window), rows[window.video]
        after = transform(before, window.seed)
        labels = (before.label, after.label)
        return AugmentedWindow(before.frames, after.frames, labels, after.note, row["video"], row["method"])

    windows = [augment(window) for window in datamodule.train_plan(cfg.epoch)[: cfg.num_cards]]
    name = str(cfg.augment["_target_"]).rpartition(".")[2]
    plot_augmented(windows, run_dir / "augment.png", title=f"{name} on {data['name']}")
    changed = sum(not np.array_equal(window.before, window.after) for window in windows)
    became_fake = sum(window.labels[0] != window.labels[1] for window in windows)
    log.info("%d of %d windows changed, %d became fake", changed, len(windows), became_fake)
    log.info("augment.png in %s", short_path(run_dir))
