"""Send hostile files through prediction or extraction and check that each costs one row at most."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from deepfake.config import to_plain
from deepfake.errors import SomeFailed, UserError
from deepfake.fuzz.campaign import (
    Ended,
    extracted_reasons,
    longest_s,
    make_files,
    predicted_reasons,
    run_watched,
    tally,
    unaccounted,
)
from deepfake.fuzz.sources import copy_films, render_films
from deepfake.prediction.collection import collect
from deepfake.reports.tables import shown
from deepfake.reports.terminal import TextConsole

log = logging.getLogger(__name__)

SCRIPTS = Path(__file__).parents[2] / "scripts"
SPARE_S = 15  # by which an item may be told late on a busy machine, and its process be started anew
TARGETS = ("predict", "extract")


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Make the files, run the command, write fuzz.json; raises SomeFailed if a promise was broken."""
    config = to_plain(cfg)
    check(config)
    sources = render_films(run_dir / "films")
    if config["input"] is not None:
        sources += copy_films([found.path for found in collect(config["input"])], run_dir / "copies")
    extracts = config["target"] == "extract"
    files = make_files(
        sources,
        (run_dir / "files").absolute(),
        count=config["files"],
        seed=config["seed"],
        odd=not extracts,  # a corpus is made of files
    )
    log.info("%d hostile files in %s, made of %d films", len(files), shown(run_dir / "files"), len(sources))
    out = (run_dir / config["target"]).absolute()
    ended = run_watched(
        command(config, files[0].parents[1], out), run_dir / "output.txt", deadline_s=config["deadline_s"]
    )
    reasons: dict[str, list[str]] = {}
    if ended.status in (0, 1):
        reasons = extracted_reasons(out / "store") if extracts else predicted_reasons(out)
    longest = longest_s(out / f"{config['target']}.log") if ended.status is not None else 0.0
    broken = broken_promises(config, ended, longest, unaccounted(files, reasons))
    counts = tally(files, reasons)
    figures = {
        "target": config["target"],
        "files": len(files),
        "seed": config["seed"],
        "status": ended.status,
        "seconds": round(ended.seconds, 1),
        "files_per_s": round(len(files) / ended.seconds, 2),
        "longest_file_s": longest,
        "peak_mb": round(ended.peak_mb),
        "largest_process_mb": round(ended.largest_mb),
        "outcomes": dict(sum(counts.values(), Counter())),
        "outcomes_by_kind": {kind: dict(found) for kind, found in counts.items()},
        "broken_promises": broken,
    }
    (run_dir / "fuzz.json").write_text(json.dumps(figures, indent=2) + "\n")
    tell(figures, run_dir)
    if broken:
        raise SomeFailed(f"{'; '.join(broken)}: see {shown(run_dir)}")


def check(config: Mapping[str, Any]) -> None:
    """Raise UserError for a command that cannot be meant."""
    if config["target"] not in TARGETS:
        raise UserError(f"target={config['target']}: must be one of {', '.join(TARGETS)}")
    if config["target"] == "predict" and config["checkpoint"] is None:
        raise UserError("target=predict: add checkpoint=FILE.ckpt")
    if not isinstance(config["files"], int) or config["files"] < 1:
        raise UserError(f"files={config['files']}: must be at least 1")


def command(config: Mapping[str, Any], folder: Path, out: Path) -> list[str]:
    """The command that gets the files, as a user would type it."""
    own = {
        "predict": [f"checkpoint={config['checkpoint']}", f"input={folder}", "pages=false"],
        "extract": ["data=folder", f"data.root={folder}", f"data.store={out / 'store'}"],
    }[config["target"]]
    limits = {f"parallel.{name}": value for name, value in config["parallel"].items()}
    given = [f"{name}={'null' if value is None else value}" for name, value in limits.items()]
    verbose = ["hydra.verbose=deepfake.parallel.local", f"hydra.run.dir='{out}'"]
    return [sys.executable, str(SCRIPTS / f"{config['target']}.py"), *own, *given, *verbose]


def broken_promises(config: Mapping[str, Any], ended: Ended, longest: float, wrong: list[str]) -> list[str]:
    """What must not happen and did."""
    broken = []
    limit_s = config["parallel"]["time_limit_s"]
    if ended.status is None:
        broken.append(f"the run did not end within {config['deadline_s']:g} s (deadline_s)")
    elif ended.status not in (0, 1):
        broken.append(f"the run ended with status {ended.status}")
    if limit_s is not None and longest > limit_s + SPARE_S:
        broken.append(f"a file took {longest:.1f} s, its limit was {limit_s:g} s")
    if wrong:
        broken.append(f"{len(wrong)} files have not exactly one row, {Path(wrong[0]).name} for example")
    return broken


def tell(figures: Mapping[str, Any], run_dir: Path) -> None:
    """Outcomes by kind on the terminal, and the figures in a line."""
    outcomes = list(figures["outcomes"])
    table = Table("kind", *outcomes, title=f"{figures['files']} hostile files", title_justify="left")
    for kind, counts in figures["outcomes_by_kind"].items():
        table.add_row(kind, *(str(counts.get(outcome, "")) for outcome in outcomes))
    console = TextConsole()
    console.print(table)
    console.print(
        f"status {figures['status']} after {figures['seconds']} s, {figures['files_per_s']} files/s; longest "
        f"file {figures['longest_file_s']} s; peak of all processes {figures['peak_mb']} MB, of one "
        f"{figures['largest_process_mb']} MB; fuzz.json in {shown(run_dir)}",
        soft_wrap=True,
        highlight=False,
    )
