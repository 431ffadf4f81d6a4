"""Score a split of any corpus with a checkpoint."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.callbacks import RichProgressBar

from deepfake.config import to_plain
from deepfake.corpora.protocols import load_test_protocol
from deepfake.parallel.pool import keep_freed_memory
from deepfake.reports.run_page import write_results
from deepfake.tasks.build import make_datamodule, make_trainer, prepare
from deepfake.training.callbacks import silence_copies
from deepfake.training.checkpoint import read_detector
from deepfake.training.loggers import open_loggers, publish
from deepfake.training.module import DetectorModule


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Extract what is missing with the checkpoint's settings, score, fill the run folder."""
    keep_freed_memory()
    silence_copies()
    config = to_plain(cfg)
    detector, checkpoint = read_detector(Path(config["checkpoint"]))
    datamodule = make_datamodule(
        cfg,
        checkpoint,
        protocol=lambda: load_test_protocol(config["data"], config["split"], checkpoint.protocol, run_dir),
    )
    datamodule.test_split = config["split"]
    module = DetectorModule(detector, checkpoint)
    trainer = make_trainer(
        config["trainer"], callbacks=[RichProgressBar()], logger=False, enable_checkpointing=False
    )
    prepare(trainer, datamodule)
    trainer.test(module, datamodule=datamodule, verbose=False)
    if not trainer.is_global_zero:
        return
    assert module.test_result is not None
    with open_loggers({"logger": {}, **config, "resume": None}, run_dir) as loggers:
        write_results(
            run_dir,
            config["split"],
            datamodule,
            module.test_result[0],
            checkpoint.decision,
            resamples=config["resamples"],
        )
        publish(loggers, run_dir, datamodule.store, step=0)
