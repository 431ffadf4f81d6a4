import hashlib
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from films import number_of, picture

from deepfake.video.probe import probe
from deepfake.video.write import write_video


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_what_is_written_comes_back_in_order_size_and_rate(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "film.mp4"
    assert write_video(path, (picture(i) for i in range(20)), fps=30) == 20
    info = probe(path)
    assert (info.num_frames, info.fps, info.width, info.height, info.codec) == (20, 30.0, 160, 128, "h264")
    assert [number_of(frame) for frame in read(path)] == list(range(20))


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, (picture(i) for i in range(20)), fps=25)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_bytes_do_not_depend_on_what_memory_held_before(tmp_path: Path) -> None:
    code = """
import numpy as np
from pathlib import Path
from deepfake.video.write import write_video
blocks = np.random.default_rng(0).integers(0, 256, (24, 30, 28, 3), dtype=np.uint8)
frames = blocks.repeat(12, 1).repeat(12, 2)
write_video(Path("film.mp4"), frames, fps=25)
"""
    digests = set()
    for fill in ("0", "17", "255"):  # glibc fills new memory with it
        command = [sys.executable, "-c", code]
        subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "MALLOC_PERTURB_": fill})
        digests.add(hashlib.md5((tmp_path / "film.mp4").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_an_odd_or_changing_size_and_no_frames_are_errors_that_leave_no_file(tmp_path: Path) -> None:
    small, odd = np.zeros((64, 64, 3), np.uint8), np.zeros((63, 64, 3), np.uint8)
    for frames, message in (([odd], "must be even"), ([small, picture(0)], "frame 1 is"), ([], "no frames")):
        with pytest.raises(ValueError, match=message):
            write_video(tmp_path / "film.mp4", frames, fps=25)
    assert list(tmp_path.iterdir()) == []
