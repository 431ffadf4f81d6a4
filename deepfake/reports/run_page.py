"""The page of a training or evaluation run: one HTML file that needs no network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfake.corpora.leaks import MEASURES
from deepfake.records import SPLITS
from deepfake.reports.tables import number
from deepfake.scoring.metrics import Metrics


def write_run_page(
    run_dir: Path, title: str, metrics: Metrics, manifest: Sequence[Mapping[str, Any]]
) -> None:
    """Write report.html from a finished run folder: its leaks.json and plots, and what is given here.

    manifest: rows of the store's manifest, for the sizes of the splits.
    """
    environment = Environment(
        loader=PackageLoader("deepfake.reports", "templates"), autoescape=True, undefined=StrictUndefined
    )
    audit = json.loads((run_dir / "leaks.json").read_text())
    sizes = Counter((row["method"], row["split"]) for row in manifest)
    methods = sorted({method for method, _ in sizes}, key=lambda method: (method != "real", method))
    page = environment.get_template("run.html.j2").render(
        title=title,
        **{name: audit[name] for name in ("protocol", "protocol_hash", "dropped", "notes")},
        leaks=audit["overlaps"],
        measures=MEASURES.items(),
        metrics=[(name, number(value)) for name, value in metrics.items()],
        splits=SPLITS,
        methods=[(method, [sizes[method, split] for split in SPLITS]) for method in methods],
        plots=[
            {"name": path.stem, "uri": _data_uri(path)} for path in sorted((run_dir / "plots").glob("*.png"))
        ],
    )
    (run_dir / "report.html").write_text(page, encoding="utf-8")


def _data_uri(png: Path) -> str:
    return "data:image/png;base64," + b64encode(png.read_bytes()).decode()
