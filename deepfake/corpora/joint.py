"""Several corpora as one: keys, labels and methods keep their corpus, a file shared by two counts once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deepfake.corpora.protocols import Protocol
from deepfake.errors import UserError
from deepfake.records import Video

log = logging.getLogger(__name__)


def join(parts: Mapping[str, Protocol]) -> Protocol:
    """The videos of all parts, keys "<part>/<key>", in the splits of their own protocols.

    A file of two parts, such as a real video of FaceForensics++ that is DeeperForensics' too, is the first
    part's. Raises UserError if the two have it in different splits, since it would test what it trained.
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
                    "follow one split; FaceForensics++ with protocol=official and DeeperForensics with "
                    "protocol=ffpp do"
                )
        own = [video for video in protocol.videos if key_of[video.key] == f"{part}/{video.key}"]
        if shared := len(protocol.videos) - len(own):
            log.info("%d videos of %s are files of another corpus and count once", shared, part)
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
