"""Check a corpus without decoding it: files that are there, splits of its protocol, leaks between them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from deepfake.config import to_plain
from deepfake.corpora.corpus import Corpus, FolderCount, few
from deepfake.corpora.leakage import MEASURES, Share, audit, leaks, to_json
from deepfake.corpora.protocols import (
    Protocol,
    check_leaks,
    describe,
    load_corpora,
    split_corpora,
    write_protocol,
)
from deepfake.io import short_path, walk_files, write_csv, write_json
from deepfake.records import SPLITS, Video
from deepfake.reports.html import TextConsole, TextTable

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Print the tables, and write audit.json, names.csv, protocol.csv and leaks.json to the run folder."""
    data = to_plain(cfg.data)
    corpora = load_corpora(data)
    folders = [
        replace(count, name=f"{name}: {count.name}") if len(corpora) > 1 else count
        for name, corpus in corpora.items()
        for count in (*corpus.counts, *count_unused(corpus))
    ]
    console = TextConsole()
    console.print(folder_table(folders).terminal(title="on disk", foldable=("missing", "unknown")))
    protocol = split_corpora(data, corpora)
    overlaps = audit(protocol.videos)
    write_protocol(protocol, overlaps, run_dir)
    write_csv(run_dir / "names.csv", ("folder", "name", "problem"), list(wrong_names(folders)))
    summary = {
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "folders": {
            count.name: {
                "present": count.present,
                "expected": count.expected,
                "missing_names": len(count.missing),
                "unknown_names": len(count.unknown),
            }
            for count in folders
        },
        "splits": split_sizes(protocol.videos),
        "dropped": Counter(protocol.dropped.values()),
        "notes": protocol.notes,
        "leaks": to_json(overlaps),
    }
    write_json(run_dir / "audit.json", summary)
    console.print(f"\n{describe(protocol)}\n", highlight=False, soft_wrap=True)
    console.print(split_table(protocol).terminal(title="splits"))
    console.print(leak_table(overlaps).terminal(title="leaks"))
    log.info("written to %s: audit.json, protocol.csv, leaks.json, names.csv", short_path(run_dir))
    check_leaks(leaks(overlaps) if data["on_leak"] == "error" else [], data["on_leak"])


def count_unused(corpus: Corpus) -> Iterator[FolderCount]:
    """Videos in the folders that no protocol uses, at any depth."""
    for folder, expected in corpus.unused.items():
        present = sum(path.suffix.lower() == ".mp4" for path in walk_files(folder, upwards=False))
        yield FolderCount(f"{folder.name} (not used)", present, expected)


def wrong_names(folders: Sequence[FolderCount]) -> Iterator[dict[str, str]]:
    """A row for every name that is missing, or that is not part of the dataset."""
    for count in folders:
        yield from ({"folder": count.name, "name": name, "problem": "missing"} for name in count.missing)
        yield from ({"folder": count.name, "name": name, "problem": "unknown"} for name in count.unknown)


def split_sizes(videos: Sequence[Video]) -> dict[str, dict[str, int]]:
    """Videos by split and method; all real ones are the method "real"."""
    sizes = Counter((video.split, video.method) for video in videos)
    return {
        split: {method: num for (name, method), num in sorted(sizes.items()) if name == split}
        for split in SPLITS
    }


def folder_table(folders: Sequence[FolderCount]) -> TextTable:
    """Present and expected videos, with a few of the wrong names."""
    rows = []
    for count in folders:
        missing = max(len(count.missing), (count.expected or 0) - count.present)
        rows.append(
            [
                count.name,
                str(count.present),
                "" if count.expected is None else str(count.expected),
                with_names(missing, count.missing),
                with_names(len(count.unknown), count.unknown),
            ]
        )
    return TextTable(["folder", "videos", "expected", "missing", "unknown"], rows)


def with_names(num: int, names: Sequence[str]) -> str:
    """995: 005, 006, 007 …; empty for 0."""
    return f"{num}: {few(names)}" if num and names else str(num) if num else ""


def split_table(protocol: Protocol) -> TextTable:
    """Videos by method and split."""
    sizes = split_sizes(protocol.videos)
    methods = sorted({video.method for video in protocol.videos}, key=lambda m: (m != "real", m))
    rows = [[method, *(str(sizes[split].get(method, 0)) for split in SPLITS)] for method in methods]
    return TextTable(["method", *SPLITS], rows)


def leak_table(overlaps: Mapping[str, Mapping[str, Share]]) -> TextTable:
    """What splits share, with a column for each comparison."""
    rows = [[words, *(share_text(s[name]) for s in overlaps.values())] for name, words in MEASURES.items()]
    return TextTable(["shared", *overlaps], rows)


def share_text(share: Share) -> str:
    """3 of 12 (25%)."""
    return "unknown" if share.share is None else f"{share.shared} of {share.of} ({share.share:.0%})"
