"""Protocols: the split of each video, under a name and a hash that every result carries.

The protocol of a run lists its corpora, splits them, checks them for leaks and is written to the run folder.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepfake.config import build
from deepfake.corpora.corpus import Corpus, few, read_csv, warn_of_names
from deepfake.corpora.leakage import Footprint, Overlaps, audit, leaks, overlap, to_json
from deepfake.corpora.splits import carve_validation, split_into_folds, split_strictly
from deepfake.errors import UserError
from deepfake.io import write_csv, write_json
from deepfake.records import FAKE, REAL, SPLITS, Video

log = logging.getLogger(__name__)

AUTO, OFFICIAL, STRICT, KFOLD = "auto", "official", "strict", "kfold"
COLUMNS = ("video", "split", "label", "method", "identities", "clip", "reason")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Videos with splits, sorted by key, and the reasons why others were dropped.

    name: corpus and protocol, "celebdf_v2/strict". dropped: reason by key. notes: remarks for the reader.
    """

    name: str
    videos: tuple[Video, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that identify this (video, split) table."""
        table = "".join(f"{video.key}\t{video.split}\n" for video in self.videos)
        return hashlib.sha256(table.encode()).hexdigest()[:16]


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

    trained_by: the checkpoint's stamp of its protocol, see stamp; None if it has none.
    """
    protocol = load_protocol(data)
    overlaps, known = {}, None
    if trained_by is None:
        unknown = "the checkpoint does not say what it was trained on, so leaks cannot be found"
        if data["on_leak"] == "error":
            raise UserError(f"data.on_leak=error: {unknown}")
        log.warning("%s", unknown)
    else:
        train, val = (Footprint.from_dict(trained_by["seen"][name]) for name in ("train", "val"))
        held_out = [video for video in protocol.videos if video.split == split]
        known = {name: trained_by[name] for name in ("name", "hash")}
        overlaps = {f"{split} in the training by {trained_by['name']}": overlap(train | val, held_out)}
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
            identities=part["identities"],
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
    protocol: Protocol, overlaps: Overlaps, on_leak: str, run_dir: Path, **extra: Any
) -> None:
    """Write protocol.csv and leaks.json (with the extra keys), log the protocol, and check for leaks."""
    write_protocol(protocol, overlaps, run_dir, **extra)
    for line in describe(protocol).splitlines():
        log.info("%s", line)
    check_leaks(leaks(overlaps), on_leak)


def write_protocol(protocol: Protocol, overlaps: Overlaps, run_dir: Path, **extra: Any) -> None:
    """Write protocol.csv with one row per video, and leaks.json with the extra keys added."""
    rows: list[dict[str, Any]] = [
        {name: getattr(video, name) for name in ("split", "label", "method", "clip")}
        | {"video": video.key, "identities": ";".join(video.identities)}
        for video in protocol.videos
    ]
    rows += [{"video": key, "reason": reason} for key, reason in sorted(protocol.dropped.items())]
    write_csv(run_dir / "protocol.csv", COLUMNS, rows)
    summary: dict[str, Any] = {
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "dropped": len(protocol.dropped),
        "notes": protocol.notes,
        "overlaps": to_json(overlaps),
        **extra,
    }
    write_json(run_dir / "leaks.json", summary)


def check_leaks(found: Sequence[str], on_leak: str) -> None:
    """Log the leaks as warnings; under on_leak=error, raise them as one UserError."""
    if on_leak not in ("warn", "error"):
        raise UserError(f"data.on_leak={on_leak}: must be one of warn, error")
    advice = (
        "data.protocol=strict keeps people apart; for DeeperForensics with FaceForensics++, "
        "data.protocol=ffpp gives both the same split"
    )
    if found and on_leak == "error":
        raise UserError(f"data.on_leak=error: {'; '.join(found)} ({advice}; data.on_leak=warn accepts it)")
    for line in (*(f"leak: {leak}" for leak in found), *([f"  {advice}"] if found else [])):
        log.warning("%s", line)


def describe(protocol: Protocol) -> str:
    """One paragraph: name, hash, sizes, dropped videos, notes."""
    count = Counter((video.split, video.label) for video in protocol.videos)
    sizes = ", ".join(f"{name} {count[name, REAL]} real + {count[name, FAKE]} fake" for name in SPLITS)
    lines = [f"protocol {protocol.name} ({protocol.hash}): {sizes}"]
    for reason, num in Counter(protocol.dropped.values()).most_common():
        keys = [key for key, why in protocol.dropped.items() if why == reason]
        lines.append(f"{num} videos dropped, {reason}: {few(keys)}")
    return "\n".join((*lines, *protocol.notes))


def stamp(protocol: Protocol) -> dict[str, Any]:
    """What a checkpoint keeps of its training protocol: name, hash, and the footprints of train and val."""
    parts = {name: [v for v in protocol.videos if v.split == name] for name in ("train", "val")}
    return {
        "name": protocol.name,
        "hash": protocol.hash,
        "seen": {name: Footprint.of(part).to_dict() for name, part in parts.items()},
    }


def join(parts: Mapping[str, Protocol]) -> Protocol:
    """Several corpora as one: keys "<part>/<key>", methods "<part>:<method>", splits of their own protocols.

    A file of two parts, such as a real video of FaceForensics++ that DeeperForensics uses too, belongs to the
    first of them. Raises UserError if it is in different splits of the two.
    """
    first_of: dict[Path, tuple[str, Video]] = {}
    videos = []
    for part, protocol in parts.items():
        key_of: dict[str, str] = {}  # of this part's videos, among all
        for video in protocol.videos:
            owner, first = first_of.setdefault(video.path.resolve(), (part, video))
            key_of[video.key] = f"{owner}/{first.key}"
            if first.split != video.split:
                raise UserError(
                    f"{video.path} is in {first.split} of {owner} and in {video.split} of {part}: both must "
                    "use the same split, as FaceForensics++ with protocol=official and DeeperForensics with "
                    "protocol=ffpp do"
                )
        own = [video for video in protocol.videos if key_of[video.key] == f"{part}/{video.key}"]
        if shared := len(protocol.videos) - len(own):
            log.info("%d videos of %s are files of another corpus too and count once", shared, part)
        videos += [
            replace(
                video,
                key=key_of[video.key],
                partner=key_of.get(video.partner) if video.partner else None,
                method=video.method if video.method == "real" else f"{part}:{video.method}",
            )
            for video in own
        ]
    return Protocol(
        name=" + ".join(protocol.name for protocol in parts.values()),
        videos=tuple(sorted(videos, key=lambda video: video.key)),
        dropped={f"{part}/{key}": why for part, p in parts.items() for key, why in p.dropped.items()},
        notes=tuple(f"{part}: {note}" for part, protocol in parts.items() for note in protocol.notes),
    )


def apply_protocol(
    corpus: Corpus,
    name: str = AUTO,
    *,
    seed: int = 0,
    fold: int = 0,
    num_folds: int = 5,
    identities: str | Path | None = None,
) -> Protocol:
    """Assign every video of a corpus its split.

    name: one of corpus.splits ("official" …); "strict", in which no person and no footage is in two splits;
    "kfold", the same with num_folds equal parts, of which number fold is test and the next one val; or
    "auto": official if the corpus has it, else strict. identities: CSV file of persons with several ids, see
    rename_people. Raises UserError if the protocol is unknown, or impossible for this corpus.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"data.split_seed={seed}: must be a whole number from 0 on")
    if identities:
        corpus = replace(corpus, videos=rename_people(corpus.videos, Path(identities)))
    if name == AUTO:
        name = OFFICIAL if OFFICIAL in corpus.splits else STRICT
        if reason := corpus.unavailable.get(OFFICIAL):
            log.warning("%s: this is NOT the official split: %s", corpus.name, reason)
    notes: list[str] = []
    reason = "its people are in different splits"
    if name in corpus.splits:
        split_of = {key: split for key, split in corpus.splits[name].items() if split}
        reason = f"the {name} protocol does not place it"
        training = [video for video in corpus.videos if split_of.get(video.key) == "train"]
        if training and "val" not in split_of.values():
            carved, how = carve_validation(training, seed)
            split_of |= carved
            on_disk = "no video of the validation split is on disk"
            notes.append(f"{on_disk if corpus.validates else 'the dataset has no validation split'}: {how}")
    elif name == STRICT:
        split_of = split_strictly(corpus, seed)
    elif name == KFOLD:
        split_of = split_into_folds(corpus, seed, fold, num_folds)
        name = f"{KFOLD}{num_folds}-{fold}"
    elif name in corpus.unavailable:
        raise UserError(f"data.protocol={name}: {corpus.unavailable[name]}")
    else:
        known = ", ".join([AUTO, *corpus.splits, STRICT, KFOLD])
        raise UserError(f"data.protocol={name}: must be one of {known} for {corpus.name}")
    kept = tuple(replace(v, split=split_of[v.key]) for v in corpus.videos if v.key in split_of)
    dropped = {v.key: reason for v in corpus.videos if v.key not in split_of}
    if unknown := sum(not video.identities for video in kept):
        notes.append(f"{unknown} videos without known identities: each counts as a person of its own")
    return Protocol(name=f"{corpus.name}/{name}", videos=kept, dropped=dropped, notes=tuple(notes))


def rename_people(videos: Sequence[Video], path: Path) -> tuple[Video, ...]:
    """The videos with ids replaced by persons, as "person:<name>", by a CSV file with the columns id, person.

    An id is an identity ("ffpp:043", "cdf:id7") or, for a video without known identities, the key of the
    video. Raises UserError naming the line.
    """
    if not path.is_file():
        raise UserError(f"data.identities={path}: no such file")
    columns, rows = read_csv(path)
    if not {"id", "person"} <= set(columns):
        raise UserError(f"data.identities={path}: needs a header with the columns id and person")
    persons: dict[str, str] = {}
    for line, row in rows:
        if not row["id"] or not row["person"]:
            raise UserError(f"data.identities={path}, line {line}: id or person is empty")
        if persons.setdefault(row["id"], f"person:{row['person']}") != f"person:{row['person']}":
            raise UserError(f"data.identities={path}, line {line}: {row['id']} is another person above")
    used = {person for video in videos for person in (*video.identities, video.key)}
    warn_of_names("data.identities: %d ids belong to no video", sorted(set(persons) - used))
    ids_of = [v.identities or ((v.key,) if v.key in persons else ()) for v in videos]
    return tuple(
        replace(video, identities=tuple(persons.get(i, i) for i in ids))
        for video, ids in zip(videos, ids_of, strict=True)
    )
