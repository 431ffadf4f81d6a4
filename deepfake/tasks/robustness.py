"""Score a split again and again, each time under another distortion.

The stored crops of real and fake videos are distorted clip by clip. Face detection is not repeated, so its
own failures on distorted videos are not measured.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from deepfake.config import to_plain
from deepfake.corpora.protocols import load_test_protocol
from deepfake.data.distortions import DISTORTIONS, ClipDistortion
from deepfake.errors import UserError
from deepfake.io import short_path, write_csv, write_json
from deepfake.parallel.pool import keep_freed_memory, progress_bar
from deepfake.reports.matrix import ROBUSTNESS_COLUMNS, write_robustness
from deepfake.reports.run_page import evaluate_split
from deepfake.scoring.evaluation import Evaluation
from deepfake.tasks.build import make_datamodule, make_trainer, prepare
from deepfake.training.callbacks import silence_copies
from deepfake.training.checkpoint import read_detector
from deepfake.training.module import DetectorModule

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Score the split clean and under every distortion and level; robustness.csv is written after each."""
    keep_freed_memory()
    silence_copies()
    config = to_plain(cfg)
    distortions = read_distortions(config)
    split, resamples = config["split"], config["resamples"]
    detector, checkpoint = read_detector(Path(config["checkpoint"]))
    datamodule = make_datamodule(
        cfg,
        checkpoint,
        protocol=lambda: load_test_protocol(config["data"], split, checkpoint.protocol, run_dir),
    )
    datamodule.test_split = split
    trainer = make_trainer(config["trainer"], logger=False, enable_checkpointing=False)
    prepare(trainer, datamodule)
    module = DetectorModule(detector, checkpoint)
    rows: list[dict[str, Any]] = []
    with progress_bar() as progress:
        task = progress.add_task("clean", total=1 + len(distortions))
        for distortion in (None, *distortions):
            name = f"{distortion.name} {distortion.level}" if distortion else "clean"
            progress.update(task, description=name)
            datamodule.distortion = distortion
            trainer.test(module, datamodule=datamodule, verbose=False)
            assert module.test_result is not None
            scores, decision = module.test_result[0], checkpoint.decision
            rows.append(
                row_of(evaluate_split(datamodule, split, scores, decision, resamples=resamples), distortion)
            )
            if trainer.is_global_zero:
                write_csv(run_dir / "robustness.csv", ROBUSTNESS_COLUMNS, rows)
            progress.advance(task)
    if not trainer.is_global_zero:
        return
    source = {
        "checkpoint": config["checkpoint"],
        "split": split,
        "protocol": datamodule.stamp["name"],
        "protocol_hash": datamodule.stamp["hash"],
        "threshold": checkpoint.decision.cut,
        "seed": config["seed"],
    }
    write_json(run_dir / "robustness.json", {**source, "rows": rows})
    write_robustness(run_dir, rows, source)
    log.info("results in %s", short_path(run_dir))


def read_distortions(config: dict[str, Any]) -> list[ClipDistortion]:
    """The distortions of a config, in order; raises UserError for an unknown name."""
    names, levels = config["distortions"], config["levels"]
    names = list(DISTORTIONS) if names is None else names
    if not names or not set(names) <= set(DISTORTIONS):
        raise UserError(f"distortions={names}: must be from {', '.join(DISTORTIONS)}")
    return [ClipDistortion(name=name, level=level, seed=config["seed"]) for name in names for level in levels]


def row_of(evaluation: Evaluation, distortion: ClipDistortion | None) -> dict[str, Any]:
    """A row of ROBUSTNESS_COLUMNS."""
    videos, flat = evaluation.levels["video"], evaluation.flat()
    return {
        "distortion": "clean" if distortion is None else distortion.name,
        "level": 0 if distortion is None else distortion.level,
        "setting": "" if distortion is None else DISTORTIONS[distortion.name].setting(distortion.level),
        "reals_called_fake": videos.false_fake / videos.real if videos.real else None,
        "fakes_called_real": videos.false_real / videos.fake if videos.fake else None,
        **{name: flat.get(name) for name in ROBUSTNESS_COLUMNS[5:]},
    }
