"""What every benchmark is given, and what it gives back."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import LIBRARIES
from deepfake.records import REAL, Video
from deepfake.reports.environment import environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """folder: for files that are deleted afterwards. device: of face detection. settings: of extraction."""

    folder: Path
    device: str
    settings: FaceSettings


@dataclass(frozen=True, slots=True)
class Measured:
    """figures: flat, named target/what. details: plain values behind them, for JSON."""

    figures: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)


def as_videos(paths: Sequence[Path], *, prefix: str) -> list[Video]:
    """Files as videos with keys <prefix>/<number>_<stem>, since stems of a dataset may repeat."""
    return [
        Video(
            key=f"{prefix}/{number:03}_{path.stem}", path=path, corpus="benchmark", label=REAL, method="real"
        )
        for number, path in enumerate(paths)
    ]


def machine() -> dict[str, Any]:
    """Where, when and with what a benchmark ran."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        **environment(),
        **{name: version(name) for name in LIBRARIES},
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
