"""Fill the face store of a corpus."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from deepfake.config import to_plain
from deepfake.errors import SomeFailed
from deepfake.faces.fill import fill_store
from deepfake.reports.tables import shown
from deepfake.tasks.assemble import face_settings, make_store, pick_device
from deepfake.tasks.protocol import announced

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Extract what is missing; raises SomeFailed if videos could not be read."""
    data = to_plain(cfg.data)
    store = make_store(data, face_settings(cfg))
    rows = fill_store(
        store,
        announced(data, run_dir).videos,
        num_workers=cfg.parallel.num_workers,
        device=pick_device(cfg.parallel.device),
        overwrite=cfg.faces.overwrite,
        main_face=data["main_face"],
    )
    failed = [row for row in rows if row["reason"] and not row["sampled_frames"]]
    sampled = sum(row["sampled_frames"] for row in rows)
    summary = {
        "store": str(store.root),
        "videos": len(rows),
        "failed": len(failed),
        "without_face": sum(bool(row["reason"]) for row in rows) - len(failed),
        "sampled_frames": sampled,
        "face_frames": sum(row["face_frames"] for row in rows),
        "tracks": sum(len(row["tracks"]) for row in rows),
    }
    (run_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    table = Table(
        "split", "method", "videos", "faces on", title=f"face store {store.root}", title_justify="left"
    )
    groups = Counter((row["split"] or "", row["method"]) for row in rows)
    for (split, method), count in sorted(groups.items()):
        group = [row for row in rows if (row["split"] or "", row["method"]) == (split, method)]
        faces, frames = (sum(row[name] for row in group) for name in ("face_frames", "sampled_frames"))
        table.add_row(split, method, str(count), f"{faces / max(frames, 1):.1%} of frames")
    Console().print(table)
    log.info("summary in %s", shown(run_dir / "summary.json"))
    if failed:
        raise SomeFailed(
            f"{len(failed)} of {len(rows)} videos could not be read: see {store.root / 'lost.csv'}"
        )
