"""On what a result was made: versions, machine, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

LIBRARIES = (
    "deepfake",
    "torch",
    "pytorch-lightning",
    "torchvision",
    "timm",
    "facenet-pytorch",
    "decord",
    "av",
    "albumentations",
    "numpy",
)


def environment() -> dict[str, str]:
    """What a report says of where it comes from, by name."""
    import torch

    gpus = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": str(os.cpu_count()),
        "GPU": ", ".join(dict.fromkeys(gpus)) or "none",
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def commit() -> str:
    """The commit of this package's checkout, marked where files differ from it; "unknown" without git."""
    try:
        head, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head[:12] + (" with changes" if changed else "")


def git(*arguments: str) -> str:
    """What git says of this package's checkout."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
