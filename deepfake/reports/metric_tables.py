"""What an Evaluation says, as tables of text for people and as rows for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepfake.reports.html import number
from deepfake.scoring.bootstrap import Interval
from deepfake.scoring.evaluation import LEVELS, PEOPLE, Evaluation, Measured
from deepfake.scoring.metrics import RATES

NAMES = {
    "auroc": "AUROC",
    "ap": "AP",
    "eer": "EER",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "tpr_at_0.1pct_fpr": "TPR at 0.1 % FPR",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "calibration error",
}
BY_GROUP = ("auroc", "ap", "eer", "tpr_at_1pct_fpr", "balanced_accuracy")
GROUP_COLUMNS = (
    *("corpus", "method", "real", "fake", "found"),
    *(f"{rate}{end}" for rate in RATES for end in ("", "_low", "_high")),
)
COUNTS = {
    "real": "real",
    "fake": "fake",
    "false_fake": "reals called fake",
    "false_real": "fakes called real",
}


class TextTable(NamedTuple):
    """Headings and rows of cells; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def with_interval(value: float | None, ends: Interval | None) -> str:
    """0.981 (0.952–0.998), or a dash for what is undefined."""
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends else "")


def level_table(evaluation: Evaluation) -> TextTable:
    """Rates of every level, videos first; the videos without a score counted as wrong stand last."""
    measured = {name: evaluation.levels[name] for name in reversed(LEVELS)}
    columns: Mapping[str, Measured] = {**measured, "every video": evaluation.every_video}
    rows = [
        [NAMES[rate], *(with_interval(m.rates.get(rate), m.intervals.get(rate)) for m in columns.values())]
        for rate in RATES
    ]
    rows += [[words, *(str(getattr(m, name)) for m in columns.values())] for name, words in COUNTS.items()]
    return TextTable(["", *columns], rows)


def group_table(evaluation: Evaluation) -> TextTable:
    """Video rates of each corpus and of each method in it."""
    rows = [
        [
            f"{corpus}, all" if not method else f"{corpus}, {method}",
            str(m.real),
            str(m.fake),
            *(with_interval(m.rates[rate], m.intervals.get(rate)) for rate in BY_GROUP),
            f"{m.fake - m.false_real} of {m.fake}",
        ]
        for (corpus, method), m in evaluation.groups.items()
    ]
    return TextTable(["", "real", "fake", *(NAMES[rate] for rate in BY_GROUP), "fakes found"], rows)


def group_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The same with all digits, in GROUP_COLUMNS; found: fakes called fake."""
    rows = []
    for (corpus, method), m in evaluation.groups.items():
        row: dict[str, Any] = {"corpus": corpus, "method": method, "real": m.real, "fake": m.fake}
        row["found"] = m.fake - m.false_real
        for rate, value in m.rates.items():
            low, high = m.intervals.get(rate) or (None, None)
            row |= {rate: value, f"{rate}_low": low, f"{rate}_high": high}
        rows.append(row)
    return rows


def rule_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """A row for each pair of rules with the video rates by it."""
    return [{"window_rule": w, "track_rule": t, **rates} for (w, t), rates in evaluation.rules.items()]


def rule_table(evaluation: Evaluation) -> TextTable:
    """The same for people."""
    rates = list(next(iter(evaluation.rules.values())))
    rows = [
        [f"{window} of windows, {track} of tracks", *(number(values[rate]) for rate in rates)]
        for (window, track), values in evaluation.rules.items()
    ]
    return TextTable(["", *(NAMES[rate] for rate in rates)], rows)


def method_of(evaluation: Evaluation, *, resamples: int, threshold: float) -> str:
    """How the figures of a page were made, in words."""
    drawn = "people, each with all videos of theirs," if evaluation.unit == PEOPLE else "videos"
    words = [
        f"Verdicts at the threshold {threshold:.3f}, which was fixed on the validation split.",
        f"In brackets: 95 % bootstrap interval, {resamples} resamples of {drawn} with replacement; "
        "one without width says that no resample differed, not that the figure is sure."
        if resamples
        else "",
        "EER: where the ROC curve, straight between its points, crosses that of equal error rates.",
        "Calibration error: expected, in ten bins of equal width.",
        "A dash: undefined; metrics.json says why.",
        "Every video: those without a score counted as wrong.",
    ]
    return " ".join(word for word in words if word)
