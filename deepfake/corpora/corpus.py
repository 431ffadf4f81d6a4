"""What lies on disk of a dataset, before any protocol says which video trains and which tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from deepfake.corpora.tree import FolderCount
from deepfake.records import Video


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The videos of a dataset and the splits that come with it.

    name: for reports, with version or compression: "celebdf_v2". videos: sorted by key, without split.
    splits: the dataset's own protocols, split by video key; a video that a protocol does not place is left
    out of it, and one without "val" has its validation carved from "train". unavailable: for a protocol
    that the dataset has but that is not on disk, what is missing and where it belongs. validates: whether the
    dataset's own protocols have a validation split. counts: videos a folder. unused: folders below the root
    that no protocol uses, with their number of files.
    """

    name: str
    videos: tuple[Video, ...]
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    validates: bool = False
    counts: tuple[FolderCount, ...] = ()
    unused: Mapping[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "videos", tuple(sorted(self.videos, key=lambda video: video.key)))
        keys = [video.key for video in self.videos]
        if twice := sorted({a for a, b in pairwise(keys) if a == b}):
            raise ValueError(f"{self.name}: {len(twice)} keys stand for two videos, such as {twice[0]}")
