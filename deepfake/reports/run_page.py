"""The end of a run: everything that is written of a scored split, from metrics.json to report.html.

Training and evaluation end with write_results; robustness rates its splits by evaluate_split.
"""

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

from deepfake.corpora.leakage import MEASURES
from deepfake.data.datamodule import FaceDataModule
from deepfake.errors import UserError
from deepfake.faces.store import FaceStore
from deepfake.io import atomic_path, short_path, write_csv, write_json
from deepfake.records import SPLITS
from deepfake.reports.contact_sheet import ScoredFace, middle_face, plot_faces, spread_over_methods
from deepfake.reports.html import (
    METRIC_NAMES,
    TextConsole,
    TextTable,
    image_uri,
    number,
    png_uri,
    with_interval,
    write_page,
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
from deepfake.scoring.evaluation import LEVELS, PEOPLE, About, Evaluation, evaluate
from deepfake.scoring.metrics import RATES

log = logging.getLogger(__name__)

COLUMNS = ("video", "label", "prob", "verdict", "method", "tracks", "frames", "reason")
GROUP_COLUMNS = (
    *("corpus", "method", "real", "fake", "found"),
    *(f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high")),
)
GROUP_RATES = ("auroc", "ap", "eer", "tpr_at_1pct_fpr", "balanced_accuracy")
COUNT_NAMES = {
    "real": "real",
    "fake": "fake",
    "false_fake": "reals called fake",
    "false_real": "fakes called real",
}
PLOTS = ("roc", "methods", "scores", "reliability", "confusion", "pr", "history", "faces")
NUM_FACES = 24
NUM_ERRORS = 24
Rows = Sequence[Mapping[str, Any]]


def write_results(
    run_dir: Path,
    stage: str,
    datamodule: FaceDataModule,
    scores: WindowScores,
    decision: Decision,
    *,
    resamples: int,
) -> Evaluation:
    """Write metrics.json, tables, plots and report.html of a scored split (stage), and print its rates.

    resamples: of the bootstrap intervals; 0 = no intervals. Raises UserError if the split has no videos.
    """
    manifest, stamp, store = datamodule.manifest, datamodule.stamp, datamodule.store
    evaluation = evaluate_split(datamodule, stage, scores, decision, resamples=resamples)
    rows = video_rows(manifest, datamodule.split(stage), scores, decision)
    write_csv(run_dir / "predictions.csv", COLUMNS, rows)
    write_scores(run_dir / "scores.parquet", scores, [row["video"] for row in manifest])
    write_csv(run_dir / "groups.csv", GROUP_COLUMNS, group_rows(evaluation))
    rules = [{"window_rule": w, "track_rule": t, **rates} for (w, t), rates in evaluation.rules.items()]
    write_csv(run_dir / "rules.csv", list(rules[0]), rules)
    metrics = evaluation.flat() | {"threshold": decision.cut, "temperature": decision.temperature}
    write_json(
        run_dir / "metrics.json",
        {
            "protocol": stamp["name"],
            "protocol_hash": stamp["hash"],
            **{f"{stage}/{name}": value for name, value in metrics.items()},
            "resampled": evaluation.unit,
        },
    )
    errors = worst_errors(rows, decision)
    faces = [scored_face(row, store) for row in errors[:NUM_ERRORS]]
    draw_plots(run_dir / "plots", rows, evaluation, decision, errors=faces, store=store)
    audit = json.loads((run_dir / "leaks.json").read_text())
    write_page(
        run_dir / "report.html",
        "run.html.j2",
        title=f"{stage} split of {audit['protocol']}",
        stage=stage,
        audit=audit,
        headline=headline(evaluation),
        method=describe_method(evaluation, resamples=resamples, threshold=decision.cut),
        levels=level_table(evaluation),
        groups=group_table(evaluation),
        rules=rule_table(evaluation),
        sizes=size_table(manifest),
        errors=[
            (row, float(row["prob"]), image_uri(face.crop)) for row, face in zip(errors, faces, strict=False)
        ],
        num_errors=len(errors),
        unscored=[row for row in rows if row["prob"] == ""],
        measures=MEASURES.items(),
        plots=[(name, png_uri(path)) for name, path in plot_files(run_dir / "plots")],
        environment=environment(),
    )
    print_levels(f"{stage} split of {stamp['name']}", evaluation)
    log.info("results in %s", short_path(run_dir))
    return evaluation


def evaluate_split(
    datamodule: FaceDataModule, stage: str, scores: WindowScores, decision: Decision, *, resamples: int
) -> Evaluation:
    """The rates of a scored split; raises UserError if the split has no videos."""
    split = datamodule.split(stage)
    if not split:
        raise UserError(f"split={stage}: no video of {datamodule.stamp['name']} belongs to it")
    videos = {}
    for index in split:
        row = datamodule.manifest[index]
        videos[index] = About(
            key=row["video"],
            label=row["label"],
            corpus=row["corpus"],
            method=row["method"],
            people=tuple(row["identities"]),
        )
    return evaluate(scores, videos, decision, how=Resampling(num=resamples))


def video_rows(
    manifest: Rows, split: Sequence[int], scores: WindowScores, decision: Decision
) -> list[dict[str, Any]]:
    """A row of COLUMNS for every video of a split, scored or not; tracks: how many were scored.

    The prob has all its digits: rounded ones would tie, and their AUROC would not be that of metrics.json.
    """
    probs = decision.videos(scores)
    tracks = np.bincount(score_tracks(scores).video, minlength=len(manifest))
    rows = []
    for index in split:
        video, prob = manifest[index], probs.get(index)
        rows.append(
            {name: video[name] for name in ("video", "label", "method", "reason")}
            | {
                "prob": "" if prob is None else repr(float(prob)),
                "verdict": decision.verdict(prob),
                "tracks": int(tracks[index]),
                "frames": video["face_frames"],
            }
        )
    return rows


def write_scores(path: Path, scores: WindowScores, keys: Sequence[str]) -> None:
    """Write the logit of every window with its video, track and frames, so that other rules can be tried."""
    columns = {
        "video": pa.array(keys).take(pa.array(scores.video)),
        "track": scores.track,
        "start": scores.start,
        "frames": pa.FixedSizeListArray.from_arrays(scores.frame.ravel(), scores.frame.shape[1]),
        "logit": scores.logit,
    }
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns), part)


def worst_errors(rows: Rows, decision: Decision) -> list[Mapping[str, Any]]:
    """The videos whose verdict is wrong, those farthest from the threshold first."""
    wrong = [row for row in rows if row["verdict"] == ("real" if row["label"] else "fake")]
    return sorted(wrong, key=lambda row: -abs(float(row["prob"]) - decision.cut))


def scored_face(row: Mapping[str, Any], store: FaceStore) -> ScoredFace:
    """The middle crop of a scored video's main face."""
    return ScoredFace(middle_face(store.read(row["video"])), row["method"], row["label"], float(row["prob"]))


def draw_plots(
    folder: Path,
    rows: Rows,
    evaluation: Evaluation,
    decision: Decision,
    *,
    errors: Sequence[ScoredFace],
    store: FaceStore,
) -> None:
    """The plots that a scored split allows: curves need both classes, histograms a score."""
    scored = [row for row in rows if row["prob"] != ""]
    labels = np.array([row["label"] for row in scored], np.int64)
    probs = np.array([float(row["prob"]) for row in scored])
    if len(np.unique(labels)) == 2:
        plot_roc({"": (probs, labels)}, folder / "roc.png")
        plot_precision_recall(probs, labels, folder / "pr.png")
    several = len({corpus for corpus, _ in evaluation.groups}) > 1
    aurocs = {}
    for (corpus, method), group in evaluation.groups.items():
        name = f"{corpus}, {method or 'all'}" if several else method or corpus
        if (auroc := group.rates["auroc"]) is not None:
            aurocs[f"{name} ({group.fake})"] = (auroc, group.intervals.get("auroc"))
    if aurocs:
        plot_methods({"": aurocs}, folder / "methods.png")
    if scored:
        plot_scores(probs, labels, decision.cut, folder / "scores.png")
        calibrated = None if decision.calibrate else decision.calibrated(probs)
        plot_reliability(probs, labels, folder / "reliability.png", calibrated=calibrated)
        chosen = spread_over_methods([row["method"] for row in scored], NUM_FACES)
        plot_faces([scored_face(scored[i], store) for i in chosen], decision.cut, folder / "faces.png")
    verdicts = [row["verdict"] for row in rows]
    plot_confusion(np.array([row["label"] for row in rows], np.int64), verdicts, folder / "confusion.png")
    if errors:
        plot_faces(errors, decision.cut, folder / "errors.png")


def plot_files(folder: Path) -> list[tuple[str, Path]]:
    """The plots of a run by name, those of PLOTS first; errors.png is omitted: the page shows its faces."""
    files = {path.stem: path for path in sorted(folder.glob("*.png")) if path.stem != "errors"}
    return [(name, files[name]) for name in dict.fromkeys([*PLOTS, *files]) if name in files]


def headline(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Name, value and interval of the figures that stand first on the page."""
    videos = evaluation.levels["video"]
    names = {"auroc": "AUROC of videos", "eer": "EER", "accuracy": "accuracy"}
    figures = []
    for rate, name in names.items():
        ends = videos.intervals.get(rate)
        interval = f"{ends[0]:.3f}–{ends[1]:.3f}" if ends else ""
        figures.append((name, with_interval(videos.rates[rate]), interval))
    coverage = "–" if evaluation.coverage is None else f"{evaluation.coverage:.1%}"
    return [*figures, ("videos", str(evaluation.videos), ""), ("covered", coverage, "")]


def level_table(evaluation: Evaluation) -> TextTable:
    """Rates and counts of every level, videos first; the last column counts unscored videos as wrong."""
    columns = {name: evaluation.levels[name] for name in reversed(LEVELS)}
    columns["every video"] = evaluation.every_video
    rows = [
        [
            METRIC_NAMES[rate],
            *(with_interval(c.rates.get(rate), c.intervals.get(rate)) for c in columns.values()),
        ]
        for rate in RATES
    ]
    rows += [
        [words, *(str(getattr(c, name)) for c in columns.values())] for name, words in COUNT_NAMES.items()
    ]
    return TextTable(["", *columns], rows)


def print_levels(title: str, evaluation: Evaluation) -> None:
    """Print the rates as a table that fits 80 columns; only those of videos have intervals."""
    columns, rows = level_table(evaluation)
    short = [[name, videos, *(other.partition(" ")[0] for other in others)] for name, videos, *others in rows]
    covered = "unknown" if evaluation.coverage is None else f"{evaluation.coverage:.1%}"
    caption = f"{covered} of {evaluation.videos} videos covered; in brackets 95 % intervals"
    TextConsole().print(TextTable(columns, short).terminal(title=title, caption=caption))


def group_table(evaluation: Evaluation) -> TextTable:
    """Video rates of each corpus and of each method in it."""
    rows = [
        [
            f"{corpus}, {method or 'all'}",
            str(group.real),
            str(group.fake),
            *(with_interval(group.rates[rate], group.intervals.get(rate)) for rate in GROUP_RATES),
            f"{group.fake - group.false_real} of {group.fake}",
        ]
        for (corpus, method), group in evaluation.groups.items()
    ]
    return TextTable(["", "real", "fake", *(METRIC_NAMES[rate] for rate in GROUP_RATES), "fakes found"], rows)


def group_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The same with all digits, in GROUP_COLUMNS; found: fakes called fake."""
    rows = []
    for (corpus, method), group in evaluation.groups.items():
        row: dict[str, Any] = {"corpus": corpus, "method": method, "real": group.real, "fake": group.fake}
        row["found"] = group.fake - group.false_real
        for rate, value in group.rates.items():
            low, high = group.intervals.get(rate) or (None, None)
            row |= {rate: value, f"{rate}_low": low, f"{rate}_high": high}
        rows.append(row)
    return rows


def rule_table(evaluation: Evaluation) -> TextTable:
    """Video rates by every pair of aggregation rules."""
    rates = list(next(iter(evaluation.rules.values())))
    rows = [
        [f"{window} of windows, {track} of tracks", *(number(values[rate]) for rate in rates)]
        for (window, track), values in evaluation.rules.items()
    ]
    return TextTable(["", *(METRIC_NAMES[rate] for rate in rates)], rows)


def size_table(manifest: Rows) -> TextTable:
    """Videos of each method and split."""
    sizes = Counter((row["method"], row["split"]) for row in manifest)
    methods = sorted({method for method, _ in sizes}, key=lambda method: (method != "real", method))
    rows = [[method, *(str(sizes[method, split]) for split in SPLITS)] for method in methods]
    return TextTable(["method", *SPLITS], rows)


def describe_method(evaluation: Evaluation, *, resamples: int, threshold: float) -> str:
    """How the figures of a page were made, in words."""
    unit = "people, each with all their videos," if evaluation.unit == PEOPLE else "videos"
    sentences = [
        f"Verdicts use the threshold {threshold:.3f}, which is stored in the checkpoint.",
        f"In brackets: 95 % bootstrap interval from {resamples} resamples of {unit} with replacement. "
        "An interval without width means that all resamples gave the same value, not that it is certain."
        if resamples
        else "",
        "EER: where the ROC curve, drawn straight between its points, has equal error rates.",
        "Calibration error: the expected one, in ten bins of equal width.",
        "A dash means undefined; metrics.json gives the reason.",
        "Every video: videos without a score are counted as wrong.",
    ]
    return " ".join(filter(None, sentences))
