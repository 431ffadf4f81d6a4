"""Protocols: the split of each video, under a name and a hash that every result carries."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepfake.corpora.corpus import Corpus, few, read_csv, warn_of_names
from deepfake.corpora.leakage import Footprint
from deepfake.corpora.splits import (
    SHARES,
    describe_split,
    has_shares,
    largest_disjoint,
    links_of,
    split_by_group,
)
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, Video

log = logging.getLogger(__name__)

AUTO, OFFICIAL, STRICT, KFOLD = "auto", "official", "strict", "kfold"
VAL_SHARE = 0.15  # of the training videos, where a dataset has no validation split


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


def apply_protocol(
    corpus: Corpus,
    name: str = AUTO,
    *,
    seed: int = 0,
    fold: int = 0,
    num_folds: int = 5,
    identities: Path | None = None,
) -> Protocol:
    """Assign every video of a corpus its split.

    name: one of corpus.splits ("official" …); "strict", in which no person and no footage is in two splits;
    "kfold", the same with num_folds equal parts, of which number fold is test and the next one val; or
    "auto": official if the corpus has it, else strict. identities: CSV file of persons with several ids, see
    read_identities. Raises UserError if the protocol is unknown, or impossible for this corpus.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"data.split_seed={seed}: must be a whole number from 0 on")
    if identities is not None:
        corpus = replace(corpus, videos=with_persons(corpus.videos, read_identities(identities)))
    if name == AUTO:
        name = OFFICIAL if OFFICIAL in corpus.splits else STRICT
        if reason := corpus.unavailable.get(OFFICIAL):
            log.warning("%s: this is NOT the official split: %s", corpus.name, reason)
    if name in corpus.splits:
        protocol = _by_table(corpus, name, seed)
    elif name == STRICT:
        protocol = _strict(corpus, seed)
    elif name == KFOLD:
        protocol = _kfold(corpus, seed, fold, num_folds)
    elif name in corpus.unavailable:
        raise UserError(f"data.protocol={name}: {corpus.unavailable[name]}")
    else:
        known = ", ".join([AUTO, *corpus.splits, STRICT, KFOLD])
        raise UserError(f"data.protocol={name}: must be one of {known} for {corpus.name}")
    return protocol


def read_identities(path: Path) -> dict[str, str]:
    """Person by id from a CSV file with the columns id and person.

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
        if persons.setdefault(row["id"], row["person"]) != row["person"]:
            raise UserError(f"data.identities={path}, line {line}: {row['id']} is another person above")
    return persons


def with_persons(videos: Sequence[Video], persons: Mapping[str, str]) -> tuple[Video, ...]:
    """The videos with ids replaced by persons, as "person:<name>"."""
    used = {person for video in videos for person in (*video.identities, video.key)}
    warn_of_names("data.identities: %d ids belong to no video", sorted(set(persons) - used))

    def named(video: Video) -> Video:
        ids = video.identities or ((video.key,) if video.key in persons else ())
        return replace(video, identities=tuple(f"person:{persons[i]}" if i in persons else i for i in ids))

    return tuple(named(video) for video in videos)


def _by_table(corpus: Corpus, name: str, seed: int) -> Protocol:
    """A protocol that the dataset defines; validation is taken from train if it has none."""
    table = dict(corpus.splits[name])
    notes: tuple[str, ...] = ()
    if "val" not in table.values():
        training = [video for video in corpus.videos if table.get(video.key) == "train"]
        if training:
            carved, how = carve_validation(training, seed)
            table |= carved
            missing = "the dataset has no validation split"
            if corpus.validates:
                missing = "no video of the validation split is on disk"
            notes = (f"{missing}: {how}",)
    return _protocol(corpus, name, table, f"the {name} protocol does not place it", notes)


def carve_validation(videos: Sequence[Video], seed: int) -> tuple[dict[str, str], str]:
    """Split the training videos into train and val: the split by key, and a note on how it was done.

    By groups that share a person or footage, if both splits then have enough of both classes; else by clip,
    so that a person, but no footage, may be in both.
    """
    shares = {"train": 1 - VAL_SHARE, "val": VAL_SHARE}
    ways = {
        "by people: no person is in both": links_of,
        "by clip, as all people are linked: people, but no clip, are in both": _clip_links,
    }
    split_of: dict[str, str] = {}
    how = ""
    for how, links in ways.items():  # noqa: B007
        try:
            split_of = split_by_group(videos, seed=seed, shares=shares, links=links)
        except UserError:
            continue
        if has_shares(videos, split_of, shares):
            break
    if not split_of:
        raise UserError(f"{len(videos)} training videos are too few to carve a validation split from")
    return split_of, f"{VAL_SHARE:.0%} of train, {how}"


def _clip_links(video: Video) -> tuple[str, ...]:
    return (f"clip {video.clip or video.partner or video.key}",)


def _strict(corpus: Corpus, seed: int) -> Protocol:
    """Groups kept whole without dropping a video, if each split gets enough; else the largest such split."""
    videos = corpus.videos
    try:
        split_of = split_by_group(videos, seed=seed)
        whole = has_shares(videos, split_of, SHARES)
    except UserError:
        split_of, whole = {}, False
    if not whole:
        parted = largest_disjoint(videos, seed=seed)
        if not split_of or _classes(videos, parted) > _classes(videos, split_of):
            split_of = parted
    if set(split_of.values()) != set(SHARES):
        raise UserError(
            f"{corpus.name}: {len(videos)} videos cannot be divided into three splits without a person "
            "or footage in two of them; add videos of other people, or name the splits in data=csv"
        )
    return _protocol(corpus, STRICT, split_of, "its people are in different splits")


def _classes(videos: Sequence[Video], split_of: Mapping[str, str]) -> tuple[int, bool]:
    """The number of (split, class) with videos, and whether train has both classes."""
    found = {(split_of[video.key], video.label) for video in videos if video.key in split_of}
    return len(found), {("train", REAL), ("train", FAKE)} <= found


def _kfold(corpus: Corpus, seed: int, fold: int, num_folds: int) -> Protocol:
    whole = isinstance(fold, int) and isinstance(num_folds, int)
    if not whole or num_folds < 3 or not 0 <= fold < num_folds:
        raise UserError(
            f"data.fold={fold}, data.num_folds={num_folds}: fold must be from 0 to num_folds - 1, and "
            "num_folds at least 3, since one fold is test and one is val"
        )
    shares = {f"fold {number}": 1 / num_folds for number in range(num_folds)}
    fold_of = split_by_group(corpus.videos, seed=seed, shares=shares)
    have = Counter((fold_of[video.key], video.label) for video in corpus.videos)
    if poor := [name for name in shares if not (have[name, REAL] and have[name, FAKE])]:
        raise UserError(
            f"data.num_folds={num_folds}: {corpus.name} has too few groups of people: "
            f"{', '.join(poor)} would lack real or fake videos; use fewer folds or data.protocol=strict"
        )
    part = {f"fold {fold}": "test", f"fold {(fold + 1) % num_folds}": "val"}
    split_of = {key: part.get(name, "train") for key, name in fold_of.items()}
    return _protocol(corpus, f"{KFOLD}{num_folds}-{fold}", split_of)


def _protocol(
    corpus: Corpus,
    name: str,
    split_of: Mapping[str, str],
    reason: str = "",
    notes: tuple[str, ...] = (),
) -> Protocol:
    """The corpus with these splits; videos without one are dropped for the reason given."""
    kept = tuple(replace(v, split=split_of[v.key]) for v in corpus.videos if v.key in split_of)
    dropped = {v.key: reason for v in corpus.videos if v.key not in split_of}
    if unknown := sum(not video.identities for video in kept):
        notes = (*notes, f"{unknown} videos without known identities: each counts as a person of its own")
    return Protocol(name=f"{corpus.name}/{name}", videos=kept, dropped=dropped, notes=notes)


def stamp(protocol: Protocol) -> dict[str, Any]:
    """What a checkpoint keeps of its training protocol: name, hash, and the footprints of train and val."""
    parts = {name: [v for v in protocol.videos if v.split == name] for name in ("train", "val")}
    return {
        "name": protocol.name,
        "hash": protocol.hash,
        "seen": {name: Footprint.of(part).to_dict() for name, part in parts.items()},
    }


def describe(protocol: Protocol) -> str:
    """One paragraph: name, hash, sizes, dropped videos, notes."""
    lines = [f"protocol {protocol.name} ({protocol.hash}): {describe_split(protocol.videos)}"]
    for reason, num in Counter(protocol.dropped.values()).most_common():
        keys = [key for key, why in protocol.dropped.items() if why == reason]
        lines.append(f"{num} videos dropped, {reason}: {few(keys)}")
    return "\n".join((*lines, *protocol.notes))


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
