"""Extract the faces of a corpus into its store, and report what was extracted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from deepfake.config import to_plain
from deepfake.corpora.protocols import load_training_protocol
from deepfake.errors import SomeFailed
from deepfake.faces.extract_corpus import CorpusExtraction
from deepfake.faces.store import FaceStore, loss_of
from deepfake.io import short_path, write_json
from deepfake.reports.contact_sheet import choose_tracks, plot_tracks, sheet_track
from deepfake.reports.html import TextConsole
from deepfake.tasks.build import face_settings, make_extraction, make_store

Row = dict[str, Any]


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Extract missing faces, write summary.json and faces.png; SomeFailed if a video is unreadable."""
    data = to_plain(cfg.data)
    store = make_store(data, face_settings(cfg))
    result = make_extraction(cfg, store)(load_training_protocol(data, run_dir).videos)
    summary = summarise(store, result)
    write_json(run_dir / "summary.json", summary)
    row_of = {row["video"]: row for row in result.rows}
    tracks = [
        sheet_track(store.read(video), row_of[video], track)
        for video, track in choose_tracks(result.rows, 24, seed=0)
    ]
    plot_tracks(tracks, run_dir / "faces.png", title=f"{data['name']} faces")
    console = TextConsole()
    console.print(coverage_table(store, result.rows))
    if summary["losses"]:
        console.print(loss_table(store, result.rows))
    files = "summary.json, faces.png" if tracks else "summary.json"
    console.print(f"{files} in {short_path(run_dir)}", soft_wrap=True, highlight=False)
    if summary["failed"]:
        failed = f"{summary['failed']} of {len(result.rows)} videos could not be read"
        raise SomeFailed(f"{failed}: see {store.root / 'lost.csv'}")


def summarise(store: FaceStore, result: CorpusExtraction) -> Row:
    """Counts of the store, its losses by kind, and the statistics of this run."""
    rows = result.rows
    totals = {name: sum(row[name] for row in rows) for name in ("sampled_frames", "face_frames")}
    losses = Counter(kind for row in rows if (kind := loss_of(row)[0]))
    return {
        "store": str(store.root),
        "videos": len(rows),
        "failed": losses["unreadable"],
        **totals,
        "coverage": round(totals["face_frames"] / max(totals["sampled_frames"], 1), 6),
        "tracks": sum(len(row["tracks"]) for row in rows),
        "losses": dict(losses),
        "extracted": result.summary(),
    }


def coverage_table(store: FaceStore, rows: Sequence[Row]) -> Table:
    """Number of videos and share of frames with a face, by split and method."""
    table = Table(
        "split", "method", "videos", "faces on", title=f"face store {store.root}", title_justify="left"
    )
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["split"] or "", row["method"]), []).append(row)
    for (split, method), group in sorted(groups.items()):
        faces, frames = (sum(row[name] for row in group) for name in ("face_frames", "sampled_frames"))
        table.add_row(split, method, str(len(group)), f"{faces / max(frames, 1):.1%} of frames")
    return table


def loss_table(store: FaceStore, rows: Sequence[Row]) -> Table:
    """Number of videos lost for each reason, with an example."""
    title = f"losses, listed in {store.root / 'lost.csv'}"
    table = Table("lost", "videos", "for example", title=title, title_justify="left")
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kind, reason = loss_of(row)
        if kind:
            kinds.setdefault(kind, []).append(f"{row['video']}: {reason}")
    for kind, examples in sorted(kinds.items()):
        table.add_row(kind, str(len(examples)), examples[0])
    return table
