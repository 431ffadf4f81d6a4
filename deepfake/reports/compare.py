"""Whether two runs truly differ: paired differences on the videos that both scored."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.measure import Measurement
from rich.table import Table

from deepfake.errors import UserError
from deepfake.io import visible
from deepfake.reports.html import TextConsole
from deepfake.reports.runs import DONE, Run, read_json, told_leaks, varying_keys
from deepfake.scoring.bootstrap import MIN_UNITS, Difference, Interval, Resampling, paired_difference

DIFFERENCE_COLUMNS = (
    *("reference", "compared", "difference", "difference_low", "difference_high"),
    *("p", "p_holm", "common_videos"),
)


@dataclass(frozen=True, slots=True)
class ScoredVideos:
    """What a run left of each scored video: prob, label, and who is seen, if known; and its groups.csv."""

    prob: Mapping[str, float]
    label: Mapping[str, int]
    groups: Sequence[Mapping[str, str]]
    person: Mapping[str, str]
    threshold: float

    @property
    def probs(self) -> np.ndarray:
        """Of all videos, (N,)."""
        return np.array(list(self.prob.values()), np.float64)

    @property
    def labels(self) -> np.ndarray:
        """Of all videos, (N,)."""
        return np.array([self.label[video] for video in self.prob], np.int64)


def read_scored(run: Run) -> ScoredVideos | None:
    """The scored videos of a run; None if there are none."""
    folder, threshold = run.folder, run.metrics.get(f"{run.stage}/threshold")
    rows = [row for row in read_rows(folder / "predictions.csv") if row.get("prob") and row.get("label")]
    if threshold is None or not rows:
        return None
    return ScoredVideos(
        {row["video"]: float(row["prob"]) for row in rows},
        {row["video"]: int(row["label"]) for row in rows},
        read_rows(folder / "groups.csv"),
        read_people(folder / "protocol.csv"),
        threshold,
    )


def read_people(protocol: Path) -> dict[str, str]:
    """Who is seen in each video of a protocol.csv that says so."""
    rows = [row for row in read_rows(protocol) if row["identities"]]
    return {row["video"]: row["identities"].partition(";")[0] for row in rows}


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where there is no file."""
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def difference_rows(
    names: Sequence[str],
    scored: Sequence[ScoredVideos | None],
    reference: int,
    *,
    rate: str,
    how: Resampling,
) -> list[dict[str, Any]]:
    """DIFFERENCE_COLUMNS for each of the named runs against the run numbered reference; empty where it lacks.

    p_holm: p corrected for as many comparisons as there are (Holm 1979).
    """
    first = scored[reference]
    rows: list[dict[str, Any]] = []
    for place, second in enumerate(scored):
        row: dict[str, Any] = dict.fromkeys(DIFFERENCE_COLUMNS)
        rows.append(row)
        if place == reference or first is None or second is None:
            continue
        found, row["common_videos"] = difference(first, second, rate=rate, how=how)
        if found is not None:
            row |= {"reference": names[reference], "compared": rate, "difference": found.value, "p": found.p}
            row["difference_low"], row["difference_high"] = found.interval
    corrected = holm([row["p"] for row in rows if row["p"] is not None])
    for row in rows:
        if row["p"] is not None:
            row["p_holm"] = corrected.pop(0)
    return rows


def difference(
    first: ScoredVideos, second: ScoredVideos, *, rate: str, how: Resampling
) -> tuple[Difference | None, int]:
    """Second minus first on the videos that both scored under one label, and how many these are.

    People are resampled where all of them are known, else videos.
    """
    common = sorted(v for v in first.prob if second.label.get(v) == first.label[v])
    people = [first.person.get(video) for video in common]
    known = None not in people and len(set(people)) >= MIN_UNITS
    _, unit = np.unique(np.array(people if known else common, str), return_inverse=True)
    found = paired_difference(
        rate,
        np.array([first.prob[video] for video in common]),
        np.array([second.prob[video] for video in common]),
        np.array([first.label[video] for video in common], np.int64),
        unit,
        thresholds=(first.threshold, second.threshold),
        how=how,
    )
    return found, len(common)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number, step by step from the smallest."""
    corrected = [0.0] * len(p)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = least
    return corrected


# Runs beside each other: a row each with intervals and paired differences, as text and on the terminal.


METRICS = tuple(f"{s}/video_{rate}" for s in ("val", "test") for rate in ("auroc", "accuracy", "eer"))
ENDS = tuple(f"{metric}{end}" for metric in METRICS if metric[0] == "t" for end in ("_low", "_high"))
SHOWN_METRIC = "test/video_auroc"
AGAINST = "against reference"
LEFT_OUT = ("best_epoch", "val/video_accuracy", "val/video_eer", "test/video_accuracy", AGAINST)
"""Of the terminal, which is narrow."""
EXPENDABLE = ("seconds", "best", "val/video_auroc")
"""What is left out as well, in this order, until a table fits."""
SEED = "seed"
NO_PROTOCOL = "no protocol: ended before the videos were known"

Row = dict[str, Any]
Points = dict[str, dict[float, list[tuple[float, Interval | None]]]]
"""By protocol, then by the varying value: the metric of every run (seed), with its interval."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of several runs, in their order; columns name all of a row's values, keys those that vary.

    references: of each protocol the name of the run that the others are compared with. scored: beside rows.
    """

    rows: list[Row]
    keys: list[str]
    references: dict[str, str] = field(default_factory=dict)
    scored: list[ScoredVideos | None] = field(default_factory=list)

    @property
    def shown(self) -> list[str]:
        """The columns that people read; the rest stands in headings and below."""
        against = [AGAINST] if any(row["difference"] is not None for row in self.rows) else []
        return ["run", *self.keys, "status", "best_epoch", "best", *METRICS, *against, "seconds"]

    @property
    def columns(self) -> list[str]:
        """All, for the CSV."""
        shown = [column for column in self.shown if column != AGAINST]
        more = ["monitor", "protocol", "protocol_hash", "split", "overrides", "error"]
        return list(dict.fromkeys([*shown, *ENDS, *DIFFERENCE_COLUMNS, *more]))

    @property
    def groups(self) -> dict[str, list[Row]]:
        """Rows by the heading of their protocol and split; runs that knew none stand with the others."""
        known = list(dict.fromkeys(place_of(row) for row in self.rows if row["protocol_hash"]))
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            own = place_of(row)
            if not row["protocol_hash"] and len(known) == 1:
                own = known[0]
            name = next((r["protocol"] for r in self.rows if own[0] and place_of(r) == own), "")
            split = "" if own[1] == "test" else f", {own[1]} split"
            groups.setdefault(f"{name} ({own[0]}){split}" if own[0] else NO_PROTOCOL, []).append(row)
        return groups

    def scored_of(self, row: Row) -> ScoredVideos | None:
        """The scored videos of a row's run."""
        return self.scored[next(place for place, own in enumerate(self.rows) if own is row)]


def place_of(row: Row) -> tuple[str, str]:
    """What a run was scored on: the hash of its protocol, and the split."""
    return row["protocol_hash"], row["split"]


def compare(
    runs: Sequence[Run],
    *,
    reference: str | None = None,
    rate: str = "auroc",
    how: Resampling | None = None,
) -> Comparison:
    """A row a run, whether it was finished or not.

    reference: name of the run with which those of its protocol are compared; everywhere else, and by
    default, it is the first one that scored something. rate: of videos, whose difference is told. Raises
    UserError if no run has that name.
    """
    keys = varying_keys(runs)
    together = os.path.commonpath([run.folder.parent for run in runs])
    rows: list[Row] = [
        {
            "run": os.path.relpath(run.folder, together),
            **{key: run.setting(key) for key in keys},
            "status": run.status.status,
            "best_epoch": run.best_epoch,
            "best": run.measured(run.monitor),
            **{metric: run.measured(metric) for metric in METRICS},
            **{end: run.metrics.get(end) for end in ENDS},
            "seconds": run.status.seconds,
            "monitor": run.monitor,
            "protocol": run.protocol,
            "protocol_hash": run.protocol_hash,
            "split": run.stage,
            "overrides": " ".join(run.overrides),
            "error": run.status.error,
            "leaks": told_leaks(read_json(run.folder / "leaks.json")),
        }
        for run in runs
    ]
    names = [row["run"] for row in rows]
    if reference is not None and reference not in names:
        raise UserError(f"reference={reference}: no such run in the table; there are {', '.join(names)}")
    scored = [read_scored(run) for run in runs]
    comparison = Comparison(rows, keys, {}, scored)
    for heading, own in comparison.groups.items():
        left = [comparison.scored_of(row) for row in own]
        places = [place for place, videos in enumerate(left) if videos is not None] or [0]
        named = [place for place, row in enumerate(own) if row["run"] == reference]
        first = (named or places)[0]
        if len(places) > 1:
            comparison.references[heading] = own[first]["run"]
        names = [row["run"] for row in own]
        found = difference_rows(names, left, first, rate=rate, how=how or Resampling())
        for row, values in zip(own, found, strict=True):
            row.update(values)
    return comparison


def markdown(comparison: Comparison) -> str:
    """A table a protocol, with the errors of failed runs below."""
    lines = [*note(comparison)]
    for heading, rows in comparison.groups.items():
        lines += ["", f"## {heading}", "", *against(comparison, heading)]
        lines += [md_row(comparison.shown), md_row(["---"] * len(comparison.shown))]
        lines += [md_row([cell(row, column) for column in comparison.shown]) for row in rows]
    errors = [f"- {row['run']}: {row['error']}" for row in comparison.rows if row["error"]]
    return "\n".join([*lines, *(["", "## Errors", "", *errors] if errors else [])]).lstrip() + "\n"


def against(comparison: Comparison, heading: str) -> list[str]:
    """What the differences of a table mean, if it has any, and an empty line."""
    if heading not in comparison.references:
        return []
    rows = [row for row in comparison.groups[heading] if row["p"] is not None]
    most = max(
        len(videos.prob) for row in comparison.groups[heading] if (videos := comparison.scored_of(row))
    )
    partly = [f"{row['run']} {row['common_videos']}" for row in rows if row["common_videos"] < most]
    words = (
        f"Reference: {comparison.references[heading]}. Differences of {rows[0]['compared']} on the videos "
        f"that both scored, resampled together; p two-sided, corrected for {len(rows)} comparisons (Holm)."
        if rows
        else f"Reference: {comparison.references[heading]}, with which no difference is defined."
    )
    return [words + (f" In common, of {most} videos: {', '.join(partly)}." if partly else ""), ""]


def md_row(cells: Sequence[str]) -> str:
    """Cells between bars."""
    shown = (visible(cell).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(shown)} |"


def print_comparison(comparison: Comparison, title: str) -> None:
    """The tables on the terminal: fewer columns, differences below; long names fold, figures do not."""
    console = TextConsole()
    unbounded = console.options.update(max_width=10_000)
    for line in note(comparison):
        console.print(line)
    for heading, rows in comparison.groups.items():
        columns = [
            column
            for column in comparison.shown
            if column not in LEFT_OUT and any(cell(row, column) for row in rows)
        ]
        if all(row["status"] == DONE for row in rows):
            columns.remove("status")
        table = terminal_table(rows, columns, comparison.keys)
        for column in EXPENDABLE:
            if Measurement.get(console, unbounded, table).maximum > console.width and column in columns:
                columns.remove(column)
                table = terminal_table(rows, columns, comparison.keys)
        table.title = f"{title}: {heading}"
        console.print(table)
        for line in against(comparison, heading):
            console.print(line)
        for row in rows:
            if row["difference"] is not None:
                console.print(f"  {numbered(row['run'])}: {cell(row, AGAINST)}")


def terminal_table(rows: Sequence[Row], columns: Sequence[str], keys: Sequence[str]) -> Table:
    """Some columns of some runs; runs and the values of keys may fold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for column in columns:
        last = column.rpartition(".")[2]  # lr of model.optimizer.lr
        words = last.replace("/video_", " ").replace("_", " ")
        table.add_column(words, overflow="fold", no_wrap=column not in ("run", *keys))
    for row in rows:
        table.add_row(numbered(row["run"]), *(cell(row, column) for column in columns[1:]))
    return table


def numbered(run: str) -> str:
    """A run's name; of a sweep's job, whose name repeats its values, the number."""
    number = re.match(r"\d+(?=_)", run)
    return number[0] if number else run


def note(comparison: Comparison) -> list[str]:
    """What must be said before several tables, and by what `best` was chosen."""
    monitors = sorted({row["monitor"] for row in comparison.rows if row["monitor"]})
    lines = [f"best: {', '.join(monitors)} at best_epoch; val/… are of the same epoch."] if monitors else []
    if len({place_of(row) for row in comparison.rows if row["protocol_hash"]}) > 1:
        lines.append(
            "These runs were tested on different videos: compare within a table only. Protocols of other "
            "hashes hold other videos or splits."
        )
    return lines


def cell(row: Row, column: str) -> str:
    """A cell as people read it: tested rates with intervals, differences with theirs and p."""
    if column == AGAINST:
        if row["difference"] is None:
            return ""
        low, high = row["difference_low"], row["difference_high"]
        return f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f}), p {row['p_holm']:.3g}"
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    if low is not None and high is not None:
        return f"{row[column]:.3f} ({low:.3f}–{high:.3f})"
    return text(row[column])


def text(value: Any) -> str:
    """A cell: four significant digits of a measured number, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def plotted_key(comparison: Comparison) -> str | None:
    """The one key that varies beside seeds, if its values are numbers; else None."""
    keys = [key for key in comparison.keys if key != SEED]
    numeric = all(is_number(row[key]) for row in comparison.rows for key in keys)
    return keys[0] if len(keys) == 1 and numeric and any(points(comparison, keys[0]).values()) else None


def is_number(value: Any) -> bool:
    """True is not a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def points(comparison: Comparison, key: str) -> Points:
    """SHOWN_METRIC of every finished run."""
    found: Points = {}
    for heading, rows in comparison.groups.items():
        for row in rows:
            if row[SHOWN_METRIC] is not None:
                low, high = row[f"{SHOWN_METRIC}_low"], row[f"{SHOWN_METRIC}_high"]
                ends = None if low is None or high is None else (low, high)
                found.setdefault(heading, {}).setdefault(float(row[key]), []).append(
                    (row[SHOWN_METRIC], ends)
                )
    return found
