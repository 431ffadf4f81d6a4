"""Several runs side by side: metrics with intervals, paired differences with significance, plots, a page.

Runs are compared only with runs that scored the same split of the same protocol: each such group has a table
of its own. Within it every run is compared with a reference on the videos that both scored.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.measure import Measurement

from deepfake.errors import UserError
from deepfake.io import write_csv, write_text
from deepfake.reports.html import (
    METRIC_NAMES,
    TextConsole,
    TextTable,
    interval_of,
    png_uri,
    with_interval,
    write_page,
)
from deepfake.reports.plots import plot_methods, plot_over_key, plot_reliability_of_runs, plot_roc
from deepfake.reports.runs import DONE, Run, describe_leaks, read_json, varying_keys
from deepfake.scoring.bootstrap import MIN_UNITS, Difference, Interval, Resampling, paired_difference

VAL, TEST = (tuple(f"{s}/video_{rate}" for rate in ("auroc", "accuracy", "eer")) for s in ("val", "test"))
PLOTTED_METRIC = "test/video_auroc"
ENDS = tuple(f"{metric}{end}" for metric in TEST for end in ("_low", "_high"))
DIFFERENCE_COLUMNS = (
    *("reference", "compared", "difference", "difference_low", "difference_high"),
    *("p", "p_holm", "common_videos"),
)
DIFFERENCE = "difference from the reference"
NOT_ON_TERMINAL = ("best_epoch", "val/video_accuracy", "val/video_eer", "test/video_accuracy", DIFFERENCE)
EXPENDABLE = ("seconds", "best", "val/video_auroc")
"""Omitted on a narrow terminal as well, in this order, until the table fits."""
NO_PROTOCOL = "no protocol: ended before the videos were known"
MAX_CURVES = 8
MAX_LABEL_CHARS = 40

Row = dict[str, Any]
"""A run: Comparison.columns, and heading (of its group), leaks (sentences), scored (ScoredVideos or None)."""
Points = dict[str, dict[float, list[tuple[float, Interval | None]]]]
"""By heading, then by the varying value: the metric of every run (seed), with its interval."""


@dataclass(frozen=True, slots=True)
class ScoredVideos:
    """The scored videos of a run by name, the person in each if that is known, and rows of groups.csv."""

    prob: Mapping[str, float]
    label: Mapping[str, int]
    groups: Sequence[Mapping[str, str]]
    person: Mapping[str, str]
    threshold: float

    def arrays(self, videos: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Probs (N,) float64 and labels (N,) int64 of some videos, or of all."""
        names = list(self.prob) if videos is None else videos
        probs, labels = [self.prob[name] for name in names], [self.label[name] for name in names]
        return np.array(probs, np.float64), np.array(labels, np.int64)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of several runs, in their order. keys: the settings that differ among them.

    references: by heading, the name of the run that the others of the group are compared with.
    """

    rows: list[Row]
    keys: list[str]
    references: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """The columns of the CSV file."""
        first = ["run", *self.keys, "status", "best_epoch", "best", *VAL, *TEST, "seconds"]
        last = ["monitor", "protocol", "protocol_hash", "split", "overrides", "error"]
        return list(dict.fromkeys([*first, *ENDS, *DIFFERENCE_COLUMNS, *last]))

    @property
    def groups(self) -> dict[str, list[Row]]:
        """Rows by heading."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row["heading"], []).append(row)
        return groups

    def table(self, rows: Sequence[Row], *, omit: Sequence[str] = ()) -> TextTable:
        """The table of a group for people, without columns that are empty or only say that all is done."""
        order = ["run", *self.keys, *TEST, DIFFERENCE, "status", "best_epoch", "best", *VAL, "seconds"]
        columns = [c for c in dict.fromkeys(order) if c not in omit and any(cell(row, c) for row in rows)]
        if "status" in columns and all(row["status"] == DONE for row in rows):
            columns.remove("status")
        cells = [[cell(row, column) for column in columns] for row in rows]
        return TextTable([heading_of(column) for column in columns], cells)


def compare(
    runs: Sequence[Run],
    *,
    reference: str | None = None,
    rate: str = "auroc",
    how: Resampling | None = None,
) -> Comparison:
    """A row for each run, finished or not.

    reference: name of the run that those of its group are compared with; in other groups, and by default, it
    is the first one that scored something. rate: the rate of videos whose differences are tested. Raises
    UserError if no run has that name.
    """
    keys = varying_keys(runs)
    parent = os.path.commonpath([run.folder.parent for run in runs])
    rows = [row_of(run, os.path.relpath(run.folder, parent), keys) for run in runs]
    names = [row["run"] for row in rows]
    if reference is not None and reference not in names:
        raise UserError(f"reference={reference}: no such run in the table; there are {', '.join(names)}")
    headings: dict[tuple[str, str], str] = {}  # by what was scored: a protocol may have several names
    for row in rows:
        if row["protocol_hash"]:
            scored_videos = row["protocol_hash"], row["split"]
            row["heading"] = headings.setdefault(scored_videos, row["heading"])
    if len(headings) == 1:  # a run that ended early belongs to the only group there is
        for row in rows:
            row["heading"] = next(iter(headings.values()))
    comparison = Comparison(rows, keys, {})
    for heading, own in comparison.groups.items():
        with_scores = [row for row in own if row["scored"] is not None]
        named = [row for row in own if row["run"] == reference]
        if with_scores:
            first = (named or with_scores)[0]
            add_differences(own, first, rate=rate, how=how or Resampling())
            if len(with_scores) > 1:
                comparison.references[heading] = first["run"]
    return comparison


def row_of(run: Run, name: str, keys: Sequence[str]) -> Row:
    """The row of a run, without its differences."""
    stage = "" if run.stage == "test" else f", {run.stage} split"
    return {
        "run": name,
        **{key: run.setting(key) for key in keys},
        "status": run.status.status,
        "best_epoch": run.best_epoch,
        "best": run.metric(run.monitor),
        **{metric: run.metric(metric) for metric in (*VAL, *TEST)},
        **{end: run.metrics.get(end) for end in ENDS},
        **dict.fromkeys(DIFFERENCE_COLUMNS),
        "seconds": run.status.seconds,
        "monitor": run.monitor,
        "protocol": run.protocol,
        "protocol_hash": run.protocol_hash,
        "split": run.stage,
        "overrides": " ".join(run.overrides),
        "error": run.status.error,
        "heading": f"{run.protocol} ({run.protocol_hash}){stage}" if run.protocol_hash else NO_PROTOCOL,
        "leaks": describe_leaks(read_json(run.folder / "leaks.json")),
        "scored": read_scored(run),
    }


def read_scored(run: Run) -> ScoredVideos | None:
    """The scored videos of a run; None if there are none."""
    threshold = run.metrics.get(f"{run.stage}/threshold")
    rows = [r for r in read_rows(run.folder / "predictions.csv") if r.get("prob") and r.get("label")]
    if threshold is None or not rows:
        return None
    protocol = [row for row in read_rows(run.folder / "protocol.csv") if row["identities"]]
    return ScoredVideos(
        {row["video"]: float(row["prob"]) for row in rows},
        {row["video"]: int(row["label"]) for row in rows},
        read_rows(run.folder / "groups.csv"),
        {row["video"]: row["identities"].partition(";")[0] for row in protocol},
        threshold,
    )


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none if there is no file."""
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def add_differences(rows: Sequence[Row], reference: Row, *, rate: str, how: Resampling) -> None:
    """Set DIFFERENCE_COLUMNS of the rows of a group, as far as a difference is defined.

    p_holm: p corrected for the number of comparisons (Holm 1979).
    """
    compared = []
    for row in rows:
        if row is reference or row["scored"] is None or reference["scored"] is None:
            continue
        found, row["common_videos"] = difference(reference["scored"], row["scored"], rate=rate, how=how)
        if found is not None:
            row |= {"reference": reference["run"], "compared": rate, "difference": found.value, "p": found.p}
            row["difference_low"], row["difference_high"] = found.interval
            compared.append(row)
    for row, p in zip(compared, holm([row["p"] for row in compared]), strict=True):
        row["p_holm"] = p


def difference(
    first: ScoredVideos, second: ScoredVideos, *, rate: str, how: Resampling
) -> tuple[Difference | None, int]:
    """Second minus first on the videos that both scored under the same label, and the number of these.

    Videos of one person are resampled together if the person is known for every video.
    """
    common = sorted(v for v in first.prob if second.label.get(v) == first.label[v])
    people = [first.person.get(video) for video in common]
    known = None not in people and len(set(people)) >= MIN_UNITS
    _, unit = np.unique(np.array(people if known else common, str), return_inverse=True)
    probs, labels = first.arrays(common)
    others, _ = second.arrays(common)
    thresholds = (first.threshold, second.threshold)
    return paired_difference(rate, probs, others, labels, unit, thresholds=thresholds, how=how), len(common)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number, step by step from the smallest."""
    order = np.argsort(p, kind="stable")
    corrected = np.minimum(1.0, np.arange(len(p), 0, -1) * np.array(p, np.float64)[order])
    return np.maximum.accumulate(corrected)[np.argsort(order)].tolist()


def cell(row: Row, column: str) -> str:
    """A cell for people: rates of the test with intervals, differences with interval and p."""
    if column == DIFFERENCE:
        if row["difference"] is None:
            return ""
        low, high = row["difference_low"], row["difference_high"]
        return f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f}), p {row['p_holm']:.3g}"
    value, ends = row[column], interval_of(row, column)
    if ends:
        return with_interval(value, ends)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def heading_of(column: str) -> str:
    """test/video_auroc -> "test AUROC", model.optimizer.lr -> "lr"."""
    stage, _, rate = column.partition("/video_")
    return f"{stage} {METRIC_NAMES[rate]}" if rate else column.rpartition(".")[2].replace("_", " ")


def notes(comparison: Comparison) -> list[str]:
    """What must be said before the tables."""
    monitors = sorted({row["monitor"] for row in comparison.rows if row["monitor"]})
    lines = []
    if monitors:
        lines.append(f"best: {', '.join(monitors)} at the best epoch; val metrics are from the same epoch.")
    if len({row["heading"] for row in comparison.rows if row["protocol_hash"]}) > 1:
        lines.append(
            "These runs were tested on different videos: compare within a table only. Protocols with "
            "different hashes contain different videos or splits."
        )
    return lines


def describe_differences(comparison: Comparison, heading: str) -> str:
    """What the differences in the table of a group mean; empty if nothing was compared."""
    if heading not in comparison.references:
        return ""
    rows, reference = comparison.groups[heading], comparison.references[heading]
    compared = [row for row in rows if row["p"] is not None]
    if not compared:
        return f"Reference: {reference}; no difference from it is defined."
    largest = max(len(row["scored"].prob) for row in rows if row["scored"])
    fewer = [f"{row['run']} {row['common_videos']}" for row in compared if row["common_videos"] < largest]
    return (
        f"Reference: {reference}. Differences of {METRIC_NAMES[compared[0]['compared']]} were computed on "
        "the videos that both runs scored, resampled together; p is two-sided and corrected for "
        f"{len(compared)} comparisons (Holm)."
        + (f" Videos in common, of {largest}: {', '.join(fewer)}." if fewer else "")
    )


def print_comparison(comparison: Comparison, title: str) -> None:
    """Print the tables with fewer columns, and the differences below them."""
    console = TextConsole()
    unbounded = console.options.update(max_width=10_000)
    for line in notes(comparison):
        console.print(line)
    foldable = [heading_of(key) for key in comparison.keys]
    for heading, rows in comparison.groups.items():
        short = [row | {"run": short_name(row["run"])} for row in rows]
        for num_omitted in range(len(EXPENDABLE) + 1):
            content = comparison.table(short, omit=[*NOT_ON_TERMINAL, *EXPENDABLE[:num_omitted]])
            table = content.terminal(title=f"{title}: {heading}", foldable=foldable)
            if Measurement.get(console, unbounded, table).maximum <= console.width:
                break
        console.print(table)
        if text := describe_differences(comparison, heading):
            console.print(text)
        for row in short:
            if row["difference"] is not None:
                console.print(f"  {row['run']}: {cell(row, DIFFERENCE)}")


def short_name(run: str) -> str:
    """The number of a sweep's job, whose name repeats its values; of any other run the name."""
    number = re.match(r"\d+(?=_)", run)
    return number[0] if number else run


def write_comparison(comparison: Comparison, folder: Path, name: str) -> None:
    """Write name.csv, name.md, name.html with its plots and, if one number varies beside seeds, name.png.

    The plots of a group are name_roc.png and the like, with a number from the second group on.
    """
    columns = comparison.columns
    rows = [{column: row[column] for column in columns} for row in comparison.rows]
    write_csv(folder / f"{name}.csv", columns, rows)
    write_text(folder / f"{name}.md", markdown(comparison))
    key, over_key = plotted_key(comparison), folder / f"{name}.png"
    if key is not None:
        plot_over_key(key, PLOTTED_METRIC, points(comparison, key), over_key)
    groups = []
    for number, (heading, own) in enumerate(comparison.groups.items(), start=1):
        suffix = "" if number == 1 else f"_{number}"
        first = comparison.references.get(heading)
        order = sorted(own, key=lambda row: row["run"] != first)
        named = zip(labels(order, comparison.keys), order, strict=True)
        scored = {label: row["scored"] for label, row in named if row["scored"] is not None}
        drawn = dict(list(scored.items())[:MAX_CURVES])
        groups.append(
            {
                "heading": heading,
                "rows": own,
                "differences": describe_differences(comparison, heading),
                "table": comparison.table(own),
                "plots": [(p.stem, png_uri(p)) for p in draw_plots(drawn, folder, name, suffix)],
                "num_omitted": len(scored) - len(drawn),
            }
        )
    write_page(
        folder / f"{name}.html",
        "comparison.html.j2",
        title=f"{len(comparison.rows)} runs",
        notes=notes(comparison),
        over_key=png_uri(over_key) if key is not None else "",
        groups=groups,
    )


def markdown(comparison: Comparison) -> str:
    """A table for each group, with the errors of failed runs below."""
    lines = notes(comparison)
    for heading, rows in comparison.groups.items():
        lines += ["", f"## {heading}", ""]
        if text := describe_differences(comparison, heading):
            lines += [text, ""]
        lines += comparison.table(rows).markdown()
    errors = [f"- {row['run']}: {row['error']}" for row in comparison.rows if row["error"]]
    return "\n".join([*lines, *(["", "## Errors", "", *errors] if errors else [])]).lstrip() + "\n"


def draw_plots(scored: Mapping[str, ScoredVideos], folder: Path, name: str, suffix: str) -> list[Path]:
    """The plots of the runs that scored both classes; their files."""
    both = {label: videos for label, videos in scored.items() if len(set(videos.label.values())) == 2}
    if not both:
        return []
    roc, reliability, methods = (
        folder / f"{name}_{kind}{suffix}.png" for kind in ("roc", "reliability", "methods")
    )
    arrays = {label: videos.arrays() for label, videos in both.items()}
    plot_roc(arrays, roc)
    plot_reliability_of_runs(arrays, reliability)
    several = len({row["corpus"] for videos in both.values() for row in videos.groups}) > 1
    aurocs = {label: method_aurocs(videos, several=several) for label, videos in both.items()}
    if not any(aurocs.values()):
        return [roc, reliability]
    plot_methods(aurocs, methods)
    return [roc, reliability, methods]


def method_aurocs(videos: ScoredVideos, *, several: bool) -> dict[str, tuple[float, Interval | None]]:
    """AUROC of each method of a run's groups.csv with its interval. several: name the corpora as well."""
    aurocs: dict[str, tuple[float, Interval | None]] = {}
    for row in videos.groups:
        if row["method"] and row["auroc"]:
            name = f"{row['corpus']}, {row['method']}" if several else row["method"]
            low, high = row["auroc_low"], row["auroc_high"]
            aurocs[name] = float(row["auroc"]), (float(low), float(high)) if low and high else None
    return aurocs


def labels(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Names of runs for legends: the values that vary, with the run's folder where two are the same.

    A run whose values make too long a name is called by its folder.
    """
    values = [
        ", ".join(f"{key.rpartition('.')[2]} {row[key]}" for key in keys if row[key] is not None)
        for row in rows
    ]
    return [
        row["run"]
        if not name or len(name) > MAX_LABEL_CHARS
        else name
        if values.count(name) == 1
        else f"{name}, {row['run']}"
        for name, row in zip(values, rows, strict=True)
    ]


def plotted_key(comparison: Comparison) -> str | None:
    """The only key that varies beside seeds, if its values are numbers and something was scored."""
    keys = [key for key in comparison.keys if key != "seed"]
    if len(keys) != 1 or not any(points(comparison, keys[0]).values()):
        return None
    values = [row[keys[0]] for row in comparison.rows]
    return keys[0] if all(type(value) in (int, float) for value in values) else None


def points(comparison: Comparison, key: str) -> Points:
    """PLOTTED_METRIC of every finished run whose key is a number."""
    found: Points = {}
    for row in comparison.rows:
        if row[PLOTTED_METRIC] is not None and type(row[key]) in (int, float):
            values = found.setdefault(row["heading"], {}).setdefault(float(row[key]), [])
            values.append((row[PLOTTED_METRIC], interval_of(row, PLOTTED_METRIC)))
    return found
