import subprocess
import sys
from pathlib import Path

import pytest

from deepfake.io import claim, replace_whole, sweep

OTHER = """
import os, sys, time
from pathlib import Path
from deepfake.io import claim
with claim(Path(sys.argv[1])) as mine:
    (Path(sys.argv[1]).parent / f".{Path(sys.argv[1]).name}.0123456789ab.tmp").write_bytes(b"half")
    print(mine, flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_file_has_one_maker_at_a_time_and_its_lock_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.arrow"
    with claim(path) as mine, claim(path) as other, claim(path.with_name("b.arrow")) as b:
        assert (mine, other, b) == (True, False, True)
    assert names(tmp_path) == []
    with claim(path) as mine:
        assert mine


def test_the_claim_of_a_killed_process_is_free_and_its_leftovers_are_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.b.arrow"
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    left = [".a.b.arrow.0123456789ab.tmp", ".a.b.arrow.lock"]
    with claim(path) as mine:
        assert not mine
    sweep(tmp_path)
    assert names(tmp_path) == left  # somebody is at it
    other.kill()
    other.wait()
    assert names(tmp_path) == left
    path.write_bytes(b"whole")
    sweep(tmp_path)
    assert names(tmp_path) == ["a.b.arrow"]


def test_where_nothing_can_be_locked_work_goes_on_and_nothing_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("deepfake.io.FileLock.acquire", no_locks)
    with claim(tmp_path / "a.arrow") as mine:
        assert mine
    (tmp_path / ".a.arrow.0123456789ab.tmp").write_bytes(b"somebody may be at it")
    sweep(tmp_path)
    assert names(tmp_path) == [".a.arrow.0123456789ab.tmp"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def breaks(unfinished: Path) -> None:
        unfinished.write_text("ha")
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        replace_whole(path, breaks)
    assert names(tmp_path) == []
    replace_whole(path, lambda unfinished: unfinished.write_text("whole"))
    with pytest.raises(OSError, match="no more"):
        replace_whole(path, breaks)
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "whole"
