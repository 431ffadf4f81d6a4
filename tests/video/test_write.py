import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import number_of, picture
from talkies import TONE_HZ, audio_packets, heard, pitch_hz, talkie

from deepfake.video.probe import probe, scan
from deepfake.video.write import write_timed_video, write_video


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


TIMES_MS = (40 + np.cumsum(np.random.default_rng(0).integers(20, 60, 20))).tolist()


def rewritten(path: Path, source: Path) -> Path:
    """The same pictures at the same times, with the source's sound."""
    frames = ((time_ms, picture(index)) for index, time_ms in enumerate(TIMES_MS))
    write_timed_video(path, frames, time_base=Fraction(1, 1000), rate=Fraction(25), sound=source)
    return path


def test_frames_keep_the_uneven_times_that_they_are_given(tmp_path: Path) -> None:
    frames = ((time_ms, picture(index)) for index, time_ms in enumerate(TIMES_MS))
    path = tmp_path / "film.mp4"
    assert write_timed_video(path, frames, time_base=Fraction(1, 1000), rate=Fraction(25)) == 20
    assert scan(path).time_s == pytest.approx((np.array(TIMES_MS) - TIMES_MS[0]) / 1000, abs=1e-6)
    assert [number_of(frame) for frame in read(path)] == list(range(20))
    assert audio_packets(path) == []


@pytest.mark.parametrize("audio", ["aac", "libmp3lame", "ac3"])
def test_sound_that_an_mp4_may_hold_is_copied_packet_by_packet_and_stays_in_time(
    tmp_path: Path, audio: str
) -> None:
    source = talkie(tmp_path / "talkie.mp4", audio=audio, times_ms=TIMES_MS)
    path = rewritten(tmp_path / "film.mp4", source)
    before, after = audio_packets(source), audio_packets(path)
    assert len(after) > 20
    assert [data for _, data in after] == [data for _, data in before]
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-3)
    stamps = [scan(file).stamps for file in (source, path)]
    ticks_s = [av.open(str(file)).streams.video[0].time_base for file in (source, path)]
    assert [float(s[0] * t) for s, t in zip(stamps, ticks_s, strict=True)] == pytest.approx(
        [TIMES_MS[0] / 1e3] * 2
    )


@pytest.mark.parametrize(("suffix", "audio"), [("mkv", "libopus"), ("mkv", "flac"), ("mov", "pcm_s16le")])
def test_other_sound_is_encoded_anew(tmp_path: Path, suffix: str, audio: str) -> None:
    source = talkie(tmp_path / f"talkie.{suffix}", audio=audio, times_ms=TIMES_MS)
    codec, samples, rate = heard(rewritten(tmp_path / "film.mp4", source))
    assert codec == "aac"
    assert len(samples) / rate == pytest.approx(1, abs=0.1)
    assert pitch_hz(samples, rate) == pytest.approx(TONE_HZ, abs=3)


def test_sound_that_cannot_be_read_costs_the_film_nothing_but_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    path = rewritten(tmp_path / "film.mp4", broken)
    assert [number_of(frame) for frame in read(path)] == list(range(20))
    assert "broken.mp4: audio is left out" in caplog.text


def test_a_large_film_says_how_its_colours_are_to_be_read(tmp_path: Path) -> None:
    rgb = np.broadcast_to(np.array([200, 60, 90], np.uint8), (720, 1280, 3))
    path = tmp_path / "film.mp4"
    write_timed_video(path, [(0, rgb), (1, rgb)], time_base=Fraction(1, 25), rate=Fraction(25))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (5, 1)  # BT.601, from 16 to 235
    assert np.abs(frame.to_ndarray(format="rgb24")[300, 300].astype(int) - [200, 60, 90]).max() <= 4


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no such thing outside Linux")
def test_an_encoder_that_makes_itself_real_time_leaves_no_trace(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    frames = [np.full((64, 64, 3), 9 * n, np.uint8) for n in range(4)]
    write_video(tmp_path / "film.mkv", frames, fps=25, codec="libsvtav1", preset="12", container="matroska")
    assert os.sched_getscheduler(0) == before
