"""A model card, as JSON for programs and as Markdown for people; readable on a forge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfake.reports.tables import number

RATES = {
    "video_auroc": "AUROC of videos",
    "video_ap": "average precision of videos",
    "video_eer": "equal error rate of videos",
    "video_accuracy": "accuracy of videos at the threshold",
    "video_balanced_accuracy": "balanced accuracy of videos at the threshold",
    "video_ece": "expected calibration error of videos",
    "frame_auroc": "AUROC of frames",
    "coverage": "share of videos in which a face was found",
    "videos": "videos",
}


def write_card(folder: Path, name: str, card: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write <name>.card.md and <name>.card.json into a folder; card: plain values, see make_card."""
    environment = Environment(
        loader=PackageLoader("deepfake.reports", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["number"] = number
    text = environment.get_template("model_card.md.j2").render(card=card, rates=rates(card["metrics"]))
    files = folder / f"{name}.card.md", folder / f"{name}.card.json"
    files[0].write_text(text, encoding="utf-8")
    files[1].write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return files


def rates(metrics: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """What metrics.json says, in words: rate, value, 95 % interval; without what is not defined."""
    rows = []
    for name, words in RATES.items():
        for stage in ("val", "test"):
            key = f"{stage}/{name}"
            if (value := (metrics or {}).get(key)) is None:
                continue
            assert metrics is not None
            low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
            interval = "" if low is None or high is None else f"{number(low)} to {number(high)}"
            rows.append((f"{words} ({stage})", number(value), interval))
    return rows
