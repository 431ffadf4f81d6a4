"""A scored split as files: predictions.csv, metrics.json, and the table on the terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from deepfake.data.datamodule import FaceDataModule
from deepfake.errors import UserError
from deepfake.faces.store import FaceStore
from deepfake.reports.faces import ScoredFace, middle_face, plot_faces, spread_over_methods
from deepfake.reports.plots import (
    plot_confusion,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
    plot_scores,
)
from deepfake.reports.run_page import write_run_page
from deepfake.reports.tables import number, shown, write_csv
from deepfake.scoring.aggregate import WindowScores, score_tracks, score_videos, verdict
from deepfake.scoring.metrics import Metrics
from deepfake.training.checkpoint import Recipe
from deepfake.training.module import measure

log = logging.getLogger(__name__)

COLUMNS = ("video", "label", "prob", "verdict", "method", "tracks", "frames", "reason")


def video_rows(
    manifest: Sequence[Mapping[str, Any]], split: Sequence[int], scores: WindowScores, recipe: Recipe
) -> list[dict[str, Any]]:
    """A row of COLUMNS for every video of a split, scored or not; tracks are those scored.

    The prob has all its digits: rounded ones would tie, and their AUROC would not be that of metrics.json.
    """
    probs = score_videos(scores, rule=recipe.track_rule)
    tracks = np.bincount(score_tracks(scores).video, minlength=len(manifest))
    rows = []
    for video in split:
        about, prob = manifest[video], probs.get(video)
        rows.append(
            {
                "video": about["video"],
                "label": about["label"],
                "prob": "" if prob is None else repr(float(prob)),
                "verdict": verdict(prob, recipe.threshold),
                "method": about["method"],
                "tracks": int(tracks[video]),
                "frames": about["face_frames"],
                "reason": about["reason"],
            }
        )
    return rows


def split_metrics(
    stage: str, split: Sequence[int], scores: WindowScores, labels: dict[int, int], recipe: Recipe
) -> Metrics:
    """Every metric of a split, named stage/level_name, and how many of its videos were scored."""
    covered = len(labels)
    metrics: Metrics = {f"{stage}/{name}": value for name, value in measure(scores, labels, recipe).items()}
    metrics |= {
        f"{stage}/coverage": covered / len(split) if split else None,
        f"{stage}/videos": len(split),
        f"{stage}/threshold": recipe.threshold,
    }
    return metrics


def conclude(
    run_dir: Path,
    stage: str,
    datamodule: FaceDataModule,
    result: tuple[WindowScores, dict[int, int]],
    recipe: Recipe,
) -> None:
    """Write and print what a detector scored on a split (stage): tables, plots, report.html.

    result: scores and label by video. Raises UserError if the split has no videos.
    """
    scores, labels = result
    split = datamodule.split(stage)
    if not split:
        raise UserError(f"split={stage}: no video of {datamodule.stamp['name']} belongs to it")
    metrics = split_metrics(stage, split, scores, labels, recipe)
    rows = video_rows(datamodule.manifest, split, scores, recipe)
    write_csv(run_dir / "predictions.csv", COLUMNS, rows)
    about = {"protocol": datamodule.stamp["name"], "protocol_hash": datamodule.stamp["hash"]}
    (run_dir / "metrics.json").write_text(json.dumps(about | metrics, indent=2) + "\n")
    write_plots(run_dir, rows, threshold=recipe.threshold, store=datamodule.store)
    title = f"{stage} split of {datamodule.stamp['name']}"
    write_run_page(run_dir, title, metrics, datamodule.manifest)
    print_metrics(title, metrics)
    log.info("results in %s", shown(run_dir))


def write_plots(
    run_dir: Path, rows: Sequence[Mapping[str, Any]], *, threshold: float, store: FaceStore
) -> None:
    """Draw the plots of a scored split."""
    folder, scored = run_dir / "plots", [row for row in rows if row["prob"] != ""]
    labels = np.array([row["label"] for row in scored], np.int64)
    probs = np.array([float(row["prob"]) for row in scored])
    if len(np.unique(labels)) == 2:
        plot_roc(probs, labels, folder / "roc.png")
        plot_precision_recall(probs, labels, folder / "pr.png")
    if scored:
        plot_scores(probs, labels, threshold, folder / "scores.png")
        plot_reliability(probs, labels, folder / "reliability.png")
    verdicts = [row["verdict"] for row in rows]
    plot_confusion(np.array([row["label"] for row in rows], np.int64), verdicts, folder / "confusion.png")
    plot_scored_faces(folder / "faces.png", rows, store, threshold)


def plot_scored_faces(
    path: Path, rows: Sequence[Mapping[str, Any]], store: FaceStore, threshold: float, *, count: int = 24
) -> None:
    """The middle crop of some scored videos' main faces with their probs, methods in turn."""
    scored = [row for row in rows if row["prob"] != ""]
    faces = []
    for place in spread_over_methods([row["method"] for row in scored], count):
        row = scored[place]
        crop = middle_face(store.read(row["video"]))
        faces.append(ScoredFace(crop, row["method"], row["label"], float(row["prob"])))
    if faces:
        plot_faces(faces, threshold, path)


def print_metrics(title: str, metrics: Metrics) -> None:
    """The metrics as a table, video level first."""
    table = Table("metric", "value", title=title, title_justify="left")
    for name, value in sorted(metrics.items(), key=lambda item: ("frame_" in item[0], item[0])):
        table.add_row(name, number(value))
    Console().print(table)
