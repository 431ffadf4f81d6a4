import subprocess
import sys
from pathlib import Path

import pytest

from deepfake.io import atomic_path, file_lock, package_version, remove_stale

OTHER = """
import os, sys, time
from pathlib import Path
from deepfake.io import file_lock
with file_lock(Path(sys.argv[1])) as mine:
    (Path(sys.argv[1]).parent / f".{Path(sys.argv[1]).name}.0123456789ab.deepfake-part").write_bytes(b"half")
    print(mine, flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_file_has_one_maker_at_a_time_and_its_lock_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.arrow"
    with file_lock(path) as mine, file_lock(path) as other, file_lock(path.with_name("b.arrow")) as b:
        assert (mine, other, b) == (True, False, True)
    assert names(tmp_path) == []
    with file_lock(path) as mine:
        assert mine


def test_the_lock_of_a_killed_process_is_free_and_what_it_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.b.arrow"
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    left = [".a.b.arrow.0123456789ab.deepfake-part", ".a.b.arrow.deepfake-lock"]
    with file_lock(path) as mine:
        assert not mine
    remove_stale(tmp_path)
    assert names(tmp_path) == left  # somebody is at it
    other.kill()
    other.wait()
    assert names(tmp_path) == left
    path.write_bytes(b"whole")
    remove_stale(tmp_path)
    assert names(tmp_path) == ["a.b.arrow"]


def test_where_nothing_can_be_locked_work_goes_on_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("deepfake.io.FileLock.acquire", no_locks)
    with file_lock(tmp_path / "a.arrow") as mine:
        assert mine
    (tmp_path / ".a.arrow.0123456789ab.deepfake-part").write_bytes(b"somebody may be at it")
    remove_stale(tmp_path)
    assert names(tmp_path) == [".a.arrow.0123456789ab.deepfake-part"]


CONTENDER = """
import os, sys
from pathlib import Path
from deepfake.io import file_lock
path, inside = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(300):
    with file_lock(path, wait=True) as mine:
        assert mine
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another process is in its block
        inside.unlink()
"""


def test_a_lock_whose_file_is_removed_is_never_held_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTENDER, str(tmp_path / "a.arrow"), str(tmp_path / "inside")]
    contenders = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=100)[1] for process in contenders] == ["", "", ""]
    assert names(tmp_path) == []


def test_hidden_files_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    theirs = [
        ".a.arrow.0123456789ab.tmp",
        ".a.arrow.lock",
        ".deepfake-lock",
        ".rsync.x9.tmp",
        ".~lock.b.odt#",
    ]
    for name in theirs:
        (tmp_path / name).write_text("theirs")
    for ours in (".a.arrow.0123456789ab.deepfake-part", ".b.deepfake-lock"):
        (tmp_path / ours).write_text("ours")
    remove_stale(tmp_path)
    assert names(tmp_path) == sorted(theirs)


def fail_within(path: Path) -> None:
    with atomic_path(path) as part:
        part.write_text("ha")
        raise ZeroDivisionError


def test_a_file_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for before in ([], ["a.txt"]):
        with pytest.raises(ZeroDivisionError):
            fail_within(path)
        assert names(tmp_path) == before
        with atomic_path(path, durable=True) as part:
            part.write_text("complete")
            assert names(tmp_path) == sorted([*before, part.name])
        assert names(tmp_path) == ["a.txt"]
        assert path.read_text() == "complete"


def test_a_package_that_is_not_installed_has_no_version_and_raises_nothing() -> None:
    assert package_version("torch")[0].isdigit()
    assert package_version("deepfake-not-there") == "not installed"
