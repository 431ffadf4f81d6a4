"""No connection is opened that nobody asked for; tests/app/test_page.py says the same of the app."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]

LIBRARY = """
import sys
from deepfake import load_detector, predict_video
assert predict_video(sys.argv[2], load_detector(sys.argv[1])).prob is not None
"""
COMMANDS = """
import sys
from deepfake.cli import run
for line in sys.stdin.read().splitlines():
    task, *sys.argv[1:] = line.split("|")
    try:
        run(task)
    except SystemExit as end:
        assert not end.code, line
"""


Offline = Callable[[Path], dict[str, str]]


def run_offline(offline: Offline, tmp_path: Path, *given: str, text: str = "") -> None:
    command = [sys.executable, "-c", *given]
    done = subprocess.run(
        command, input=text, env=offline(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "refused").read_text() == ""


def test_a_connection_is_refused_and_noted(offline: Offline, tmp_path: Path) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://example.com')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=offline(tmp_path), capture_output=True, text=True, check=False)
    assert "refuses a connection to example.com" in done.stderr
    assert (tmp_path / "refused").read_text() == "example.com\n"


def test_the_library_opens_none(
    offline: Offline, quick_checkpoint: Path, quick_video: Path, tmp_path: Path
) -> None:
    run_offline(offline, tmp_path, LIBRARY, str(quick_checkpoint), str(quick_video))


def test_no_command_opens_one(
    offline: Offline,
    tiny_demo: tuple[str, ...],
    trained: Path,
    tmp_path: Path,
) -> None:
    best = f"checkpoint={trained}/checkpoints/best.ckpt"
    video = min(Path(tiny_demo[0].partition("=")[2]).rglob("*.mp4"))
    fast = ("trainer=cpu", "resamples=0")
    few = ("data.windows_per_video=1", "data.eval_windows=1", "faces.num_clips=2", "trainer.max_epochs=1")
    commands = (
        ("train", *tiny_demo, *few, *fast, "augment=perturb"),
        ("extract", *tiny_demo[:3], "faces.num_clips=2", "parallel.num_workers=1"),
        ("evaluate", best, *tiny_demo, *fast),
        ("predict", best, f"input={video}", "parallel.num_workers=1"),
        ("audit", tiny_demo[0], tiny_demo[2]),
        ("augment", *tiny_demo[:3], "faces.num_clips=2"),
        ("compare", f"runs={tmp_path}"),
        ("export", best, f"output={tmp_path}/detector.onnx", "repeats=0"),
        ("robustness", best, *tiny_demo, *fast, "levels=[1]", "distortions=[jpeg]"),
        ("doctor", "selftest=false"),
    )
    text = "\n".join("|".join((*command, f"hydra.run.dir={tmp_path}/{command[0]}")) for command in commands)
    run_offline(offline, tmp_path, COMMANDS, text=text)
