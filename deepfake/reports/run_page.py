"""The page of a training or evaluation run: one HTML file that needs no network."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.table import Table

from deepfake.corpora.leakage import MEASURES
from deepfake.data.datamodule import FaceDataModule
from deepfake.errors import UserError
from deepfake.faces.store import FaceStore
from deepfake.io import atomic_path, short_path
from deepfake.records import SPLITS
from deepfake.reports.contact_sheet import ScoredFace, middle_face, plot_faces, spread_over_methods
from deepfake.reports.html import TextConsole, pictures, portrait_uri, write_csv, write_json, write_page
from deepfake.reports.metric_tables import (
    GROUP_COLUMNS,
    TextTable,
    group_rows,
    group_table,
    level_table,
    method_of,
    rule_rows,
    rule_table,
    with_interval,
)
from deepfake.reports.plots import (
    plot_confusion,
    plot_methods,
    plot_precision_recall,
    plot_reliability,
    plot_roc,
    plot_scores,
)
from deepfake.reports.runs import environment
from deepfake.scoring.aggregate import WindowScores, score_tracks
from deepfake.scoring.bootstrap import Resampling
from deepfake.scoring.decision import Decision
from deepfake.scoring.evaluation import About, Evaluation, evaluate

log = logging.getLogger(__name__)

PLOTS = ("roc", "methods", "scores", "reliability", "confusion", "pr", "history", "faces")


def write_run_page(
    run_dir: Path,
    evaluation: Evaluation,
    *,
    stage: str,
    threshold: float,
    resamples: int,
    manifest: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    num_errors: int,
    lost: Sequence[Mapping[str, Any]],
) -> None:
    """Write report.html from a finished run folder: its leaks.json and plots, and what is given here.

    manifest: rows of the store's manifest, for the sizes of the splits. errors: videos that were judged
    wrongly, each with video, label, method, prob and face, (H, W, 3) uint8. lost: those without a score.
    """
    audit = json.loads((run_dir / "leaks.json").read_text())
    write_page(
        run_dir / "report.html",
        "run.html.j2",
        title=f"{stage} split of {audit['protocol']}",
        stage=stage,
        **{name: audit[name] for name in ("protocol", "protocol_hash", "dropped", "notes")},
        headline=headline(evaluation),
        method=method_of(evaluation, resamples=resamples, threshold=threshold),
        levels=level_table(evaluation),
        groups=group_table(evaluation),
        rules=rule_table(evaluation),
        sizes=size_table(manifest),
        errors=[dict(error) | {"uri": portrait_uri(error["face"])} for error in errors],
        num_errors=num_errors,
        lost=lost,
        leaks=audit["overlaps"],
        measures=MEASURES.items(),
        plots=pictures(run_dir / "plots", *PLOTS),
        environment=environment(),
    )


def headline(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Name, value and what else is said of the figures that stand first."""
    videos = evaluation.levels["video"]
    figures = [("AUROC of videos", "auroc"), ("EER", "eer"), ("accuracy", "accuracy")]
    return [
        *(
            (name, with_interval(videos.rates[rate], None), ends_of(videos.intervals.get(rate)))
            for name, rate in figures
        ),
        ("videos", str(evaluation.videos), ""),
        ("covered", "–" if evaluation.coverage is None else f"{evaluation.coverage:.1%}", ""),
    ]


def ends_of(ends: tuple[float, float] | None) -> str:
    """An interval as text; empty for None."""
    return f"{ends[0]:.3f}–{ends[1]:.3f}" if ends else ""


def size_table(manifest: Sequence[Mapping[str, Any]]) -> TextTable:
    """Videos of each method and split."""
    sizes = Counter((row["method"], row["split"]) for row in manifest)
    methods = sorted({method for method, _ in sizes}, key=lambda method: (method != "real", method))
    rows = [[method, *(str(sizes[method, split]) for split in SPLITS)] for method in methods]
    return TextTable(["method", *SPLITS], rows)


# A scored split as files: predictions.csv, metrics.json and the rest, and the table on the terminal.


COLUMNS = ("video", "label", "prob", "verdict", "method", "tracks", "frames", "reason")
NUM_FACES = 24
NUM_ERRORS = 24
Rows = Sequence[Mapping[str, Any]]


def conclude(
    run_dir: Path,
    stage: str,
    datamodule: FaceDataModule,
    result: tuple[WindowScores, dict[int, int]],
    decision: Decision,
    *,
    resamples: int,
) -> Evaluation:
    """Write and print what a detector scored on a split (stage): tables, plots, report.html.

    result: scores and label by video. resamples: of the intervals; 0 = none. Raises UserError if the split
    has no videos.
    """
    scores, _ = result
    manifest, split = datamodule.manifest, datamodule.split(stage)
    if not split:
        raise UserError(f"split={stage}: no video of {datamodule.stamp['name']} belongs to it")
    evaluation = evaluate(scores, about(manifest, split), decision, how=Resampling(num=resamples))
    rows = video_rows(manifest, split, scores, decision)
    write_csv(run_dir / "predictions.csv", COLUMNS, rows)
    write_scores(run_dir / "scores.parquet", scores, [row["video"] for row in manifest])
    write_csv(run_dir / "groups.csv", GROUP_COLUMNS, group_rows(evaluation))
    rules = rule_rows(evaluation)
    write_csv(run_dir / "rules.csv", list(rules[0]), rules)
    write_metrics(run_dir / "metrics.json", stage, datamodule.stamp, evaluation, decision)
    draw(run_dir / "plots", rows, evaluation, decision, datamodule.store)
    errors = worst_errors(rows, decision)
    write_run_page(
        run_dir,
        evaluation,
        stage=stage,
        threshold=decision.cut,
        resamples=resamples,
        manifest=manifest,
        errors=[
            row | {"prob": float(row["prob"]), "face": middle_face(datamodule.store.read(row["video"]))}
            for row in errors[:NUM_ERRORS]
        ],
        num_errors=len(errors),
        lost=[row for row in rows if row["prob"] == ""],
    )
    print_levels(f"{stage} split of {datamodule.stamp['name']}", evaluation)
    log.info("results in %s", short_path(run_dir))
    return evaluation


def about(manifest: Rows, split: Sequence[int]) -> dict[int, About]:
    """What a manifest says of the videos of a split, by row."""
    return {
        video: About(
            key=row["video"],
            label=row["label"],
            corpus=row["corpus"],
            method=row["method"],
            people=tuple(row["identities"]),
        )
        for video, row in ((video, manifest[video]) for video in split)
    }


def video_rows(
    manifest: Rows, split: Sequence[int], scores: WindowScores, decision: Decision
) -> list[dict[str, Any]]:
    """A row of COLUMNS for every video of a split, scored or not; tracks are those scored.

    The prob has all its digits: rounded ones would tie, and their AUROC would not be that of metrics.json.
    """
    probs = decision.videos(scores)
    tracks = np.bincount(score_tracks(scores).video, minlength=len(manifest))
    rows = []
    for video in split:
        own, prob = manifest[video], probs.get(video)
        rows.append(
            {
                "video": own["video"],
                "label": own["label"],
                "prob": "" if prob is None else repr(float(prob)),
                "verdict": decision.verdict(prob),
                "method": own["method"],
                "tracks": int(tracks[video]),
                "frames": own["face_frames"],
                "reason": own["reason"],
            }
        )
    return rows


def write_scores(path: Path, scores: WindowScores, keys: Sequence[str]) -> None:
    """Every window's logit with its video, track and frames: enough to join them by any other rule."""
    columns = {
        "video": pa.array(keys).take(pa.array(scores.video)),
        "track": scores.track,
        "start": scores.start,
        "frames": pa.FixedSizeListArray.from_arrays(scores.frame.ravel(), scores.frame.shape[1]),
        "logit": scores.logit,
    }
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns), part)


def write_metrics(
    path: Path, stage: str, stamp: Mapping[str, Any], evaluation: Evaluation, decision: Decision
) -> None:
    """metrics.json: a flat object of stage/level_rate and what belongs to them."""
    metrics = {f"{stage}/{name}": value for name, value in evaluation.flat().items()}
    metrics |= {f"{stage}/threshold": decision.cut, f"{stage}/temperature": decision.temperature}
    told = {
        "protocol": stamp["name"],
        "protocol_hash": stamp["hash"],
        **metrics,
        "resampled": evaluation.unit,
    }
    write_json(path, told)


def draw(folder: Path, rows: Rows, evaluation: Evaluation, decision: Decision, store: FaceStore) -> None:
    """The plots of a scored split."""
    scored = [row for row in rows if row["prob"] != ""]
    labels = np.array([row["label"] for row in scored], np.int64)
    probs = np.array([float(row["prob"]) for row in scored])
    if len(np.unique(labels)) == 2:
        plot_roc(probs, labels, folder / "roc.png")
        plot_precision_recall(probs, labels, folder / "pr.png")
    if any(measured.rates["auroc"] is not None for measured in evaluation.groups.values()):
        plot_methods(evaluation.groups, folder / "methods.png")
    if scored:
        plot_scores(probs, labels, decision.cut, folder / "scores.png")
        calibrated = None if decision.calibrate else decision.calibrated(probs)
        plot_reliability(probs, labels, folder / "reliability.png", calibrated=calibrated)
        plot_faces(scored_faces(scored, store), decision.cut, folder / "faces.png")
    verdicts = [row["verdict"] for row in rows]
    plot_confusion(np.array([row["label"] for row in rows], np.int64), verdicts, folder / "confusion.png")
    if errors := worst_errors(rows, decision)[:NUM_ERRORS]:
        plot_faces([scored_face(row, store) for row in errors], decision.cut, folder / "errors.png")


def scored_faces(scored: Rows, store: FaceStore) -> list[ScoredFace]:
    """The middle crop of some scored videos' main faces with their probs, methods in turn."""
    places = spread_over_methods([row["method"] for row in scored], NUM_FACES)
    return [scored_face(scored[place], store) for place in places]


def scored_face(row: Mapping[str, Any], store: FaceStore) -> ScoredFace:
    """The middle crop of a scored video's first face."""
    return ScoredFace(middle_face(store.read(row["video"])), row["method"], row["label"], float(row["prob"]))


def worst_errors(rows: Rows, decision: Decision) -> list[dict[str, Any]]:
    """The videos whose verdict is wrong, those farthest from the threshold first."""
    wrong = [dict(row) for row in rows if row["verdict"] == ("real" if row["label"] else "fake")]
    return sorted(wrong, key=lambda row: -abs(float(row["prob"]) - decision.cut))


def print_levels(title: str, evaluation: Evaluation) -> None:
    """The rates as a table that fits 80 columns: those of videos with intervals."""
    measured = level_table(evaluation)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for place, column in enumerate(measured.columns):
        table.add_column(column, justify="right" if place else "left")
    for name, videos, *others in measured.rows:
        table.add_row(name, videos, *(other.partition(" ")[0] for other in others))
    covered = "unknown" if evaluation.coverage is None else f"{evaluation.coverage:.1%}"
    table.caption = f"{covered} of {evaluation.videos} videos covered; in brackets 95 % intervals"
    table.caption_justify = "left"
    TextConsole().print(table)
