"""What an extraction did and will take: counts, seconds and losses, added up while it runs."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.filesize import decimal

from deepfake.records import Video

log = logging.getLogger(__name__)

SAMPLE = 8  # videos by which time and disk are estimated
COUNTS = ("videos", "frames", "faces", "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one job.

    elsewhere: another extraction is at this video. videos: 1 if it was extracted here and now, 0 if it was
    found finished. frames: sampled. faces: crops kept. bytes: of the store file. seconds: by stage.
    trouble: what is wrong with the mask, if anything.
    """

    elsewhere: bool = False
    videos: int = 0
    frames: int = 0
    faces: int = 0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    trouble: str = ""


class Work:
    """The sum over jobs; failures: reason by video key. Wall time runs from the first job's start."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self.seconds: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self.troubles: list[str] = []
        self.wall_s = 0.0
        self._start: float | None = None

    def add(self, done: Done) -> None:
        """Count one job in."""
        now, spent = perf_counter(), sum(done.seconds.values())
        # workers take seconds to start, which says nothing of their pace
        self._start = now - spent if self._start is None else min(self._start, now - spent)
        self.wall_s = now - self._start
        self.counts.update({name: getattr(done, name) for name in COUNTS})
        self.seconds.update(done.seconds)
        if done.trouble:
            self.troubles.append(done.trouble)

    def rate(self, name: str) -> float:
        """Videos, frames, faces or bytes a second."""
        return self.counts[name] / self.wall_s if self.wall_s else 0.0

    def pace(self) -> str:
        """One line while it runs."""
        rates = ", ".join(f"{self.rate(name):.3g} {name}/s" for name in ("videos", "frames", "faces"))
        return rates + (f", {len(self.failures)} failed" if self.failures else "")

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: counts, rates, wall and stage seconds."""
        rates = {f"{name}_per_s": round(self.rate(name), 3) for name in ("videos", "frames", "faces")}
        stages = {stage: round(seconds, 3) for stage, seconds in sorted(self.seconds.items())}
        return {**self.counts, **rates, "wall_s": round(self.wall_s, 3), "seconds_by_stage": stages}


def worth_foreseeing(num_videos: int) -> bool:
    """Whether a sample is so small a part that an estimate helps."""
    return num_videos >= 4 * SAMPLE


def in_sampled_order(videos: Sequence[Video]) -> list[Video]:
    """All videos; if they are many, SAMPLE of all sizes first, by which the rest can be estimated."""
    if not worth_foreseeing(len(videos)):
        return list(videos)
    by_size = sorted(range(len(videos)), key=lambda place: size_of(videos[place].path))
    step = len(videos) / SAMPLE
    first = [by_size[int((turn + 0.5) * step)] for turn in range(SAMPLE)]
    return [videos[place] for place in [*first, *sorted(set(range(len(videos))) - set(first))]]


def foresee(num_videos: int, work: Work, folder: Path) -> None:
    """Say what the whole extraction will take, by the pace so far; warn of a disk too small for it."""
    size = round(work.counts["bytes"] / work.counts["videos"] * num_videos)
    free = shutil.disk_usage(folder).free + work.counts["bytes"]
    log.info(
        "by the first %d of %d videos, of all sizes: about %s and %s, of %s free",
        work.counts["videos"],
        num_videos,
        time_text(num_videos / work.rate("videos")),
        decimal(size),
        decimal(free),
    )
    if size > free:
        log.warning(
            "the disk of %s will be full before the end: name another data.store, or take fewer clips "
            "(faces.num_clips) or smaller crops (faces.max_crop_px, faces.margin)",
            folder,
        )


def time_text(seconds: float) -> str:
    """Such as 0:02:54."""
    return str(timedelta(seconds=round(seconds)))


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
