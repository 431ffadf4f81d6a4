"""The protocol of a run: its corpora listed, split, checked for leaks and written to the run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake.config import build
from deepfake.corpora.corpus import Corpus
from deepfake.corpora.leakage import Footprint, Share, audit, leaks, overlap, to_json
from deepfake.corpora.protocols import AUTO, Protocol, apply_protocol, describe, join
from deepfake.errors import UserError
from deepfake.io import write_csv, write_json

log = logging.getLogger(__name__)

ON_LEAK = ("warn", "error")
COLUMNS = ("video", "split", "label", "method", "identities", "clip", "reason")


def load_training_protocol(data: Mapping[str, Any], run_dir: Path) -> Protocol:
    """The protocol of cfg.data (plain), logged and written to the run folder.

    Raises UserError under data.on_leak=error if val or test holds what training sees.
    """
    protocol = load_protocol(data)
    report_protocol(protocol, audit(protocol.videos), data["on_leak"], run_dir)
    return protocol


def load_test_protocol(
    data: Mapping[str, Any], split: str, trained_by: Mapping[str, Any] | None, run_dir: Path
) -> Protocol:
    """The same for evaluation: the split is compared with what the checkpoint was trained on.

    trained_by: the checkpoint's stamp of its protocol, see protocols.stamp; None if it has none.
    """
    protocol = load_protocol(data)
    overlaps = {}
    if trained_by is None:
        unknown = "the checkpoint does not say what it was trained on, so leaks cannot be found"
        if data["on_leak"] == "error":
            raise UserError(f"data.on_leak=error: {unknown}")
        log.warning("%s", unknown)
    else:
        train, val = (Footprint.from_dict(trained_by["seen"][name]) for name in ("train", "val"))
        held_out = [video for video in protocol.videos if video.split == split]
        overlaps = {f"{split} in the training by {trained_by['name']}": overlap(train | val, held_out)}
    known = trained_by and {name: trained_by[name] for name in ("name", "hash")}
    report_protocol(protocol, overlaps, data["on_leak"], run_dir, trained_by=known)
    return protocol


def load_protocol(data: Mapping[str, Any]) -> Protocol:
    """The videos of cfg.data (plain) in the splits it asks for."""
    return split_corpora(data, load_corpora(data))


def load_corpora(data: Mapping[str, Any]) -> dict[str, Corpus]:
    """What is on disk of cfg.data (plain), by name; of joint corpora those that have a root."""
    return {name: build(part["corpus"])() for name, part in _parts(data).items()}


def split_corpora(data: Mapping[str, Any], corpora: Mapping[str, Corpus]) -> Protocol:
    """The videos of these corpora in the splits that cfg.data (plain) asks for."""
    protocols = {
        name: apply_protocol(
            corpora[name],
            part["protocol"],
            seed=part["split_seed"],
            fold=part["fold"],
            num_folds=part["num_folds"],
            identities=Path(part["identities"]) if part["identities"] else None,
        )
        for name, part in _parts(data).items()
    }
    return join(protocols) if "corpora" in data else protocols[data["name"]]


def _parts(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """cfg.data of each corpus that has a root, by name; a corpus of joint data inherits its protocol keys."""
    if "corpora" not in data:
        if data["root"] is None:
            raise UserError(
                "no value for data.root: add data.root=… to the command, or set the variable that "
                f"conf/data names for {data['name']}"
            )
        return {data["name"]: data}
    parts = {name: part for name, part in data["corpora"].items() if part["root"] is not None}
    if not parts:
        raise UserError(
            "data=joint: name the root of at least one corpus, such as data.corpora.ffpp.root=/path; "
            f"there are {', '.join(data['corpora'])}"
        )
    joint = {name: data[name] for name in ("split_seed", "fold", "num_folds")}
    return {
        name: {
            **part,
            **joint,
            "protocol": data["protocol"] if part["protocol"] == AUTO else part["protocol"],
            "identities": part["identities"] or data["identities"],
        }
        for name, part in parts.items()
    }


def report_protocol(
    protocol: Protocol,
    overlaps: Mapping[str, Mapping[str, Share]],
    on_leak: str,
    run_dir: Path,
    **extra: Any,
) -> None:
    """Write protocol.csv and leaks.json (with the extra keys), log the protocol, and check for leaks."""
    write_protocol(protocol, overlaps, run_dir, **extra)
    for line in describe(protocol).splitlines():
        log.info("%s", line)
    check_leaks(leaks(overlaps), on_leak)


def write_protocol(
    protocol: Protocol, overlaps: Mapping[str, Mapping[str, Share]], run_dir: Path, **extra: Any
) -> None:
    """Write protocol.csv with one row per video, and leaks.json with the extra keys added."""
    rows = [
        {
            "video": video.key,
            "split": video.split,
            "label": video.label,
            "method": video.method,
            "identities": ";".join(video.identities),
            "clip": video.clip,
        }
        for video in protocol.videos
    ]
    dropped = [{"video": key, "reason": reason} for key, reason in sorted(protocol.dropped.items())]
    write_csv(run_dir / "protocol.csv", COLUMNS, [*rows, *dropped])
    summary = {
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "dropped": len(dropped),
        "notes": protocol.notes,
        "overlaps": to_json(overlaps),
        **extra,
    }
    write_json(run_dir / "leaks.json", summary)


def check_leaks(found: Sequence[str], on_leak: str) -> None:
    """Log the leaks as warnings; under on_leak=error, raise them as one UserError."""
    if on_leak not in ON_LEAK:
        raise UserError(f"data.on_leak={on_leak}: must be one of {', '.join(ON_LEAK)}")
    advice = (
        "data.protocol=strict keeps people apart; for DeeperForensics with FaceForensics++, "
        "data.protocol=ffpp gives both the same split"
    )
    if found and on_leak == "error":
        raise UserError(f"data.on_leak=error: {'; '.join(found)} ({advice}; data.on_leak=warn accepts it)")
    for line in found:
        log.warning("leak: %s", line)
    if found:
        log.warning("  %s", advice)
