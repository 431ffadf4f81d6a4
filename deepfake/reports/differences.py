"""Whether two runs truly differ: paired differences on the videos that both scored."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.reports.runs import Run
from deepfake.scoring.intervals import MIN_UNITS, Difference, Resampling, paired_difference

COLUMNS = (
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
    """COLUMNS for each of the named runs against the one numbered reference; empty where there is nothing.

    p_holm: p corrected for as many comparisons as there are (Holm 1979).
    """
    first = scored[reference]
    rows: list[dict[str, Any]] = []
    for place, second in enumerate(scored):
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
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
