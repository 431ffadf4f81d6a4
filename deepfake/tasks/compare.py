"""Compare runs and sweeps: a table with paired differences, plots, a page."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from deepfake.config import to_plain
from deepfake.errors import UserError
from deepfake.io import short_path
from deepfake.reports.compare import compare, print_comparison, write_comparison
from deepfake.reports.runs import find_runs, read_run
from deepfake.scoring.bootstrap import Resampling

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Print the tables of cfg.runs, and write compare.csv, compare.md, compare.html and their plots."""
    config = to_plain(cfg)
    runs = config["runs"]
    if config["resamples"] < 1:
        raise UserError(f"resamples={config['resamples']}: must be at least 1; 2000 are recommended")
    places = [Path(place) for place in (runs if isinstance(runs, list) else [runs])]
    folders = dict.fromkeys(folder for place in places for folder in runs_in(place))
    comparison = compare(
        [read_run(folder) for folder in folders],
        reference=config["reference"],
        rate=config["rate"],
        how=Resampling(num=config["resamples"]),
    )
    print_comparison(comparison, "runs")
    write_comparison(comparison, run_dir, "compare")
    log.info("results in %s", short_path(run_dir))


def runs_in(place: Path) -> list[Path]:
    """The run folders in a folder or below it; raises UserError if there are none."""
    if not place.is_dir():
        raise UserError(f"runs={place}: no such folder")
    found = find_runs(place.resolve())
    if not found:
        raise UserError(f"runs={place}: contains no run; a run is a folder such as outputs/train/<date_time>")
    return found
