"""A killed extraction, started again, ends with the store of an undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]


def extract(store: Path, videos: Path, run_dir: Path) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "scripts" / "extract.py"), "data.num_identities=6", "faces.num_clips=2"),
        *(f"data.root={videos}", f"data.store={store}", f"hydra.run.dir={run_dir}", "parallel.num_workers=2"),
    ]


def files(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def test_a_killed_extraction_resumes_to_the_same_store_and_a_third_run_does_nothing(
    tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    videos = Path(tiny_demo[0].partition("=")[2])
    broken, whole = tmp_path / "broken", Path(tiny_demo[1].partition("=")[2])
    first = subprocess.Popen(extract(broken, videos, tmp_path / "a"), start_new_session=True)
    while len(list(broken.rglob("*.arrow"))) < 4:
        assert first.poll() is None, "extraction ended before it could be killed"
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    left = len(list(broken.rglob("*.arrow")))
    assert 4 <= left < 24
    again = subprocess.run(
        extract(broken, videos, tmp_path / "b"), capture_output=True, text=True, check=True
    )
    assert f"reusing the faces of {left} videos" in again.stdout
    for name, content in files(whole).items():
        assert files(broken)[name] == content, name
    rows = pq.read_table(broken / "manifest.parquet").num_rows
    assert rows == 24
    before = {path: path.stat().st_mtime_ns for path in broken.rglob("*.arrow")}
    third = subprocess.run(
        extract(broken, videos, tmp_path / "c"), capture_output=True, text=True, check=True
    )
    assert "reusing the faces of 24 videos" in third.stdout
    assert {path: path.stat().st_mtime_ns for path in broken.rglob("*.arrow")} == before
