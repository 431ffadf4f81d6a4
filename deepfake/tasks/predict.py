"""Score any collection of videos and images with a checkpoint or with published weights."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig
from rich.progress import TextColumn

from deepfake.config import to_plain
from deepfake.errors import SomeFailed, UserError
from deepfake.io import disk_is_full, short_path
from deepfake.parallel.pool import keep_freed_memory, progress_bar
from deepfake.prediction.detector import LoadedDetector
from deepfake.prediction.inputs import InputFile, collect
from deepfake.prediction.journal import Journal
from deepfake.prediction.outputs import FileOutputs, explainable
from deepfake.prediction.predictor import ScoredFile, predict_files
from deepfake.scoring.decision import Decision
from deepfake.scoring.prediction import Prediction
from deepfake.signals import explain_early_end
from deepfake.tasks.build import choose_detector, make_executor, make_limits, pick_device

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")

log = logging.getLogger(__name__)

JOURNAL = "records.jsonl"
FACES_FOLDER = "faces_"
LOG_EVERY_S = 60  # where nobody sees the progress bar
NUM_LOGGED = 20  # files whose probability is logged at the end


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Score every file, write the run folder; raises SomeFailed if files could not be read.

    Each file is written down as it is finished, and what is finished is reported however the run ends.
    Raises Stopped if the disk is full, KeyboardInterrupt if interrupted, both with how to go on.
    """
    from deepfake.reports.predictions import ModelFacts

    keep_freed_memory()
    config, device = to_plain(cfg), pick_device(cfg.parallel.device)
    if not isinstance(config["resume"], bool):
        raise UserError(f"resume={config['resume']}: true or false; hydra.run.dir=… names the run")
    detector = choose_detector(cfg, device=device)
    if config["explain"]:
        explainable(detector)
    detector = detector.with_decision(decision_of_command(detector.checkpoint.decision, config))
    files = collect(config["input"], recursive=config["recursive"])
    wanted = {name: config[name] for name in ("pages", "annotate", "explain")}
    if config["resume"] and not (run_dir / JOURNAL).exists():
        if DATE_TIME.fullmatch(run_dir.name):  # the folder that a command gets which names none
            raise UserError("resume=true: name the folder of the run, hydra.run.dir=outputs/predict/…")
        log.warning("resume=true: %s (hydra.run.dir) holds no run: it starts anew", short_path(run_dir))
    journal = Journal(run_dir / JOURNAL, f"{detector.job} {json.dumps(wanted)}", resume=config["resume"])
    todo = unfinished_files(journal, files) if config["resume"] else files
    header = describe_detector(detector, by_command=config["threshold"] is not None)
    outputs = FileOutputs(run_dir, ModelFacts.from_header(header), **wanted)
    for left in run_dir.glob(f"{FACES_FOLDER}*"):  # by a run that was killed here
        shutil.rmtree(left, ignore_errors=True)
    with explain_early_end(run_dir, partial(resume_hint, run_dir, journal, files)):
        try:
            with (
                TemporaryDirectory(dir=run_dir, prefix=FACES_FOLDER, ignore_cleanup_errors=True) as folder,
                closing(
                    predict_files(
                        detector,
                        todo,
                        make_executor(cfg),
                        device=device,
                        folder=Path(folder),
                        limits=make_limits(cfg),
                    )
                ) as results,
                closing(with_progress(results, len(todo))) as watched,
            ):
                for scored in watched:
                    if scored.faces is not None:
                        # before the file counts as finished, so that a resumed run lacks none of it
                        outputs.write(scored.found.path, scored.prediction, scored.faces, detector)
                    journal.add(scored)
                    del scored  # otherwise its faces would stay in memory while the next file is scored
        except BaseException as err:
            if journal.entries and not disk_is_full(err):
                write_reports(run_dir, header, journal, files)
            raise
        failed = write_reports(run_dir, header, journal, files)
    log_predictions(journal.predictions(files[:NUM_LOGGED]))
    log.info("results in %s", short_path(run_dir))
    if failed:
        raise SomeFailed(
            f"{failed} of {len(files)} files could not be read: see {short_path(run_dir / 'predictions.csv')}"
        )


def unfinished_files(journal: Journal, files: Sequence[InputFile]) -> list[InputFile]:
    """The files that a resumed run has not finished, or that have changed since then."""
    left = [found for found in files if not journal.holds(found)]
    for found in left:
        journal.forget(found)
    log.info("resuming: %d of %d files are finished already", len(files) - len(left), len(files))
    return left


def with_progress(results: Iterator[ScoredFile], total: int) -> Generator[ScoredFile]:
    """The results, with a progress bar, or with one line per minute if there is no terminal."""
    start = logged = time.monotonic()
    with progress_bar(TextColumn("{task.fields[pace]}")) as progress:
        task = progress.add_task("scoring", total=total, pace="")
        for count, scored in enumerate(results, 1):
            yield scored
            del scored
            pace = f"{count / (time.monotonic() - start):.2f} files/s"
            progress.update(task, advance=1, pace=pace)
            if not progress.console.is_terminal and time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                log.info("scoring: %d of %d, %s", count, total, pace)


def describe_detector(detector: LoadedDetector, *, by_command: bool) -> dict[str, Any]:
    """What predictions.json says of the detector and its decision; by_command: the threshold was given."""
    from deepfake.reports.runs import environment

    checkpoint, stamp = detector.checkpoint, detector.checkpoint.protocol
    fitted = stamp is not None and not by_command
    decision = asdict(checkpoint.decision) | {
        "threshold": checkpoint.decision.cut,
        "threshold_origin": "command line" if by_command else "validation" if fitted else "default",
        "threshold_rule": checkpoint.threshold_rule if fitted else None,
    }
    protocol = stamp and {"name": stamp.get("name"), "hash": stamp.get("hash")}
    return {
        "model": {
            "path": str(detector.path),
            "sha256": detector.sha256,
            "fingerprint": detector.fingerprint,
            "net": checkpoint.net,
            "protocol": protocol,
        },
        "preprocessing": {"fingerprint": detector.preprocessing_fingerprint, **detector.preprocessing},
        "decision": decision,
        "environment": environment(),
    }


def write_reports(
    run_dir: Path, header: Mapping[str, Any], journal: Journal, files: Sequence[InputFile]
) -> int:
    """Everything in the run folder that tells of all files, as far as they are finished; how many failed."""
    from deepfake.reports.predictions import SCHEMA, ModelFacts, write_index_page, write_predictions

    done = [entry for found in files if (entry := journal.entries.get(str(found.path)))]
    failed = sum(not entry.ok for entry in done)
    counts = {
        "complete": len(done) == len(files),
        "num_files": len(files),
        "num_failed": failed,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_predictions(run_dir, {"schema": SCHEMA, **counts, **header}, journal.predictions(files))
    model, predictions = ModelFacts.from_header(header), partial(journal.predictions, files)
    write_index_page(run_dir / "report.html", predictions, model=model)
    return failed


def resume_hint(run_dir: Path, journal: Journal, files: Sequence[InputFile]) -> str:
    """How far a run got that ended early, and how to resume it."""
    done = sum(str(found.path) in journal.entries for found in files)
    return (
        f"{done} of {len(files)} files are finished, see {short_path(run_dir)}; "
        f"the same command with resume=true hydra.run.dir={short_path(run_dir)} does the others"
    )


def log_predictions(predictions: Iterator[Prediction]) -> None:
    """Log one line per file."""
    for prediction in predictions:
        prob = "  -  " if prediction.prob is None else f"{prediction.prob:.3f}"
        log.info("%s  %-12s  %s  %s", prob, prediction.verdict, prediction.file, prediction.reason)


def decision_of_command(decision: Decision, config: Mapping[str, Any]) -> Decision:
    """The checkpoint's decision with what the command sets; a threshold is one of stated probs."""
    names = ("window_rule", "track_rule", "calibrate", "undetermined_margin")
    decision = replace(decision, **{name: config[name] for name in names if config[name] is not None})
    return decision if config["threshold"] is None else decision.cut_at(config["threshold"])
