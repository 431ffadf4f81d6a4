"""The page of a training or evaluation run: one HTML file that needs no network."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake.corpora.leaks import MEASURES
from deepfake.records import SPLITS
from deepfake.reports.environment import environment
from deepfake.reports.measured import (
    TextTable,
    group_table,
    level_table,
    method_of,
    rule_table,
    with_interval,
)
from deepfake.reports.pages import pictures, portrait_uri, write_page
from deepfake.scoring.evaluation import Evaluation

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
