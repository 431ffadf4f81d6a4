from io import StringIO
from typing import Any

import pytest

from deepfake.doctor.sheet import print_end, print_facts, stage_line
from deepfake.reports.html import TextConsole

REPORT: dict[str, Any] = {
    "about": {"deepfake": "0.1.0", "commit": "abc", "python": "3.11", "system": "Linux", "ffmpeg": "8.1"},
    "libraries": [
        {"name": "torch", "version": "2.15.0", "wrong": ""},
        {"name": "numpy", "version": None, "wrong": "is not installed"},
    ],
    "processor": {
        "model": "A processor with a long name",
        "cores": 64,
        "usable_cores": 2,
        "usable_memory_bytes": 4e9,
        "free_memory_bytes": 1e9,
    },
    "accelerators": {
        "torch_cuda": "13.0",
        "gpus": [{"name": "NVIDIA H100", "memory_bytes": 8e10, "capability": "9.0"}],
        "mps": False,
    },
    "disks": {"outputs": {"free_bytes": 5e9, "total_bytes": 1e11}},
    "limits": {"open_files": 1024, "open_files_at_most": None},
    "codecs": {"H.264": {"encode": "ok", "decord": "ok"}, "AV1": {"encode": "ok", "decord": "x " * 80}},
    "extras": [{"name": "app", "mend": "uv sync --extra app"}, {"name": "hpo", "mend": ""}],
    "wandb": "online, nobody is logged in",
    "notes": ["numpy is not installed: uv sync"],
}


@pytest.mark.parametrize("width", [40, 80, 160])
def test_every_line_fits_the_terminal_and_everything_is_told(width: int) -> None:
    text = StringIO()
    console = TextConsole(file=text, width=width)
    print_facts(console, REPORT)
    print_end(console, REPORT)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(text.getvalue().split())
    for told in (
        "torch 2.15.0",
        "numpy missing",
        "H.264 ok ok",
        "AV1 ok no",
        "uv sync --extra app",
        "80.0 GB",
    ):
        assert told in words
    if width > 40:
        assert "2 of 64 cores" in words
        assert "1024 at a time, could be no limit" in words
        starts = {
            line.index(value) for line in lines for value in ("Linux", "3.11", "4.0 GB") if value in line
        }
        assert len(starts) == 1  # values stand below each other


def test_a_stage_is_one_line_with_its_seconds_and_error() -> None:
    stage = {"stage": "train", "status": "failed", "seconds": 3.21, "error": "UserError: no disk"}
    assert stage_line(stage).plain == "  train      3.2 s  failed  UserError: no disk"
    assert stage_line(
        {"stage": "train", "status": "skipped", "seconds": None, "error": ""}
    ).plain.split() == [
        "train",
        "skipped",
    ]
