"""tests/losses.py, by which a refactor proves that it changed no loss."""

import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "losses.py"


def compared(before: Path, after: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(before), str(after)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


def test_equal_losses_pass_and_the_last_digit_of_one_does_not(tmp_path: Path) -> None:
    log = tmp_path / "before" / "logs" / "version_0" / "metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("epoch,step,train/loss_step,train/frames_per_s\n0,9,0.69314718,12\n0,19,0.5,13\n")
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    other = tmp_path / "after" / "logs" / "version_0" / "metrics.csv"
    other.write_text(log.read_text().replace("12\n", "99\n"))
    assert compared(tmp_path / "before", tmp_path / "after") == (0, "all 2 losses are identical")
    other.write_text(log.read_text().replace("0.69314718", "0.69314717"))
    status, told = compared(tmp_path / "before", tmp_path / "after")
    assert (status, told[:39]) == (1, "1 of 2 losses differ, the first: ('0', '9"[:39])
    assert compared(tmp_path / "before", tmp_path)[0] == 1
