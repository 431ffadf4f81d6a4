"""Measure one side of the project's speed and size beside an honest yardstick."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from benchmarks.bench import Bench, BenchmarkResult, machine
from deepfake.config import build, to_plain
from deepfake.errors import SomeFailed, UserError
from deepfake.io import short_path
from deepfake.parallel.pool import keep_freed_memory
from deepfake.reports.html import number
from deepfake.tasks.build import face_settings, pick_device

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Print the figures, and write benchmark.json and details.json to the run folder.

    Raises UserError for an unknown target, SomeFailed if the target found a failure.
    """
    target = to_plain(cfg)["target"]
    if target not in cfg.targets:
        raise UserError(f"target={target}: must be one of {', '.join(cfg.targets)}")
    settings, device = face_settings(cfg), pick_device(cfg.device)
    keep_freed_memory()
    torch.manual_seed(0)  # of untrained detectors
    measure = build(cfg.targets[target])
    with TemporaryDirectory(dir=run_dir, prefix="work_") as folder:
        measured: BenchmarkResult = measure(
            Bench(run_dir=run_dir, folder=Path(folder), device=device, settings=settings)
        )
    details = {"machine": machine(), "device": device, **measured.details}
    for name, values in ("benchmark.json", measured.figures), ("details.json", details):
        (run_dir / name).write_text(json.dumps(values, indent=2) + "\n")
    Console().print(figure_table(f"benchmark {target}", measured.figures))
    log.info("written to %s: benchmark.json, details.json", short_path(run_dir))
    if measured.failure:
        raise SomeFailed(f"{measured.failure}: see {short_path(run_dir)}")


def figure_table(title: str, figures: Mapping[str, float]) -> Table:
    """Names and values."""
    table = Table("figure", title=title, title_justify="left")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, number(value))
    return table
