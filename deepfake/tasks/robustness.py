"""Score a split again and again, each time under another distortion, and draw what is left.

The stored crops of real and fake videos are distorted, clip by clip; faces are not looked for anew in a
distorted video, so what a detector of faces would lose is not seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from deepfake.config import to_plain
from deepfake.corpora.load import load_test_protocol
from deepfake.data.datamodule import FaceDataModule
from deepfake.data.distortions import DISTORTIONS, LEVELS, SETTINGS, ClipDistortion
from deepfake.errors import UserError
from deepfake.io import short_path
from deepfake.parallel import keep_freed_memory, progress_bar
from deepfake.records import SPLITS
from deepfake.reports.html import write_csv, write_json
from deepfake.reports.robustness import COLUMNS, print_robustness, write_robustness
from deepfake.reports.run_page import about
from deepfake.scoring.bootstrap import Resampling
from deepfake.scoring.evaluation import evaluate
from deepfake.tasks.build import make_datamodule, make_trainer, prepare
from deepfake.training.callbacks import silence_copies
from deepfake.training.checkpoint import read_detector
from deepfake.training.module import DetectorModule

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Score clean and under every distortion and level; what is done is written at once."""
    keep_freed_memory()
    silence_copies()
    config = to_plain(cfg)
    distortions = wanted(config)
    detector, checkpoint = read_detector(Path(config["checkpoint"]))
    datamodule = make_datamodule(
        cfg,
        checkpoint,
        protocol=lambda: load_test_protocol(config["data"], config["split"], checkpoint.protocol, run_dir),
    )
    datamodule.test_split = config["split"]
    trainer = make_trainer(config["trainer"], logger=False, enable_checkpointing=False)
    prepare(trainer, datamodule)
    rows = []
    module = DetectorModule(detector, checkpoint)
    for row in score_all(trainer, module, datamodule, distortions, resamples=config["resamples"]):
        rows.append(row)
        if trainer.is_global_zero:
            write_csv(run_dir / "robustness.csv", COLUMNS, rows)
    if not trainer.is_global_zero:
        return
    told = {
        "checkpoint": config["checkpoint"],
        "split": config["split"],
        "protocol": datamodule.stamp["name"],
        "protocol_hash": datamodule.stamp["hash"],
        "threshold": checkpoint.decision.cut,
        "seed": config["seed"],
    }
    write_json(run_dir / "robustness.json", {**told, "rows": rows})
    write_robustness(run_dir, rows, told)
    print_robustness(rows)
    log.info("results in %s", short_path(run_dir))


def wanted(config: dict[str, Any]) -> list[ClipDistortion]:
    """What the config asks for, in order; raises UserError for an unknown name, level or split."""
    names = list(DISTORTIONS) if config["distortions"] is None else config["distortions"]
    if config["split"] not in SPLITS:
        raise UserError(f"split={config['split']}: must be one of {', '.join(SPLITS)}")
    if not names or not set(names) <= set(DISTORTIONS):
        raise UserError(f"distortions={names}: known are {', '.join(DISTORTIONS)}")
    if not config["levels"] or not set(config["levels"]) <= set(LEVELS):
        raise UserError(f"levels={config['levels']}: known are 1 to 5")
    return [
        ClipDistortion(name=name, level=level, seed=config["seed"])
        for name in names
        for level in config["levels"]
    ]


def score_all(
    trainer: pl.Trainer,
    module: DetectorModule,
    datamodule: FaceDataModule,
    distortions: Sequence[ClipDistortion],
    *,
    resamples: int,
) -> Iterator[dict[str, Any]]:
    """A row of COLUMNS for the clean split, then for each distortion; the decision is the checkpoint's."""
    with progress_bar() as progress:
        task = progress.add_task("clean", total=1 + len(distortions))
        for distortion in (None, *distortions):
            words = "clean" if distortion is None else f"{distortion.name} {distortion.level}"
            progress.update(task, description=words)
            datamodule.distortion = distortion
            trainer.test(module, datamodule=datamodule, verbose=False)
            yield row_of(module, datamodule, distortion, resamples=resamples)
            progress.advance(task)


def row_of(
    module: DetectorModule, datamodule: FaceDataModule, distortion: ClipDistortion | None, *, resamples: int
) -> dict[str, Any]:
    """What the last test measured."""
    assert module.test_result is not None
    split = datamodule.split(datamodule.test_split)
    if not split:
        name = datamodule.stamp["name"]
        raise UserError(f"split={datamodule.test_split}: no video of {name} belongs to it")
    found = evaluate(
        module.test_result[0],
        about(datamodule.manifest, split),
        module.checkpoint.decision,
        how=Resampling(num=resamples),
    )
    videos, flat = found.levels["video"], found.flat()
    return {
        "distortion": "clean" if distortion is None else distortion.name,
        "level": 0 if distortion is None else distortion.level,
        "setting": "" if distortion is None else SETTINGS[distortion.name][distortion.level - 1],
        "reals_called_fake": videos.false_fake / videos.real if videos.real else None,
        "fakes_called_real": videos.false_real / videos.fake if videos.fake else None,
        **{name: flat.get(name) for name in COLUMNS[5:]},
    }
