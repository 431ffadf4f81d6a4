"""Which codecs PyAV, decord and this project's own reader can read: tried with a film of a few frames.

Decoders are C libraries that may crash: they are tried in a process of their own, which is started again
behind the step in which one did.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

OK = "ok"
NUM_FRAMES, HEIGHT, WIDTH = 8, 96, 128
MOST_APART = 10.0  # mean difference of a pixel's values, of 255, that a codec may make
TIMEOUT_S = 120  # of them all, which take two seconds
WHEN_AND_WHERE = re.compile(r"^\[[\d:]+\] \S+: ")  # with which errors of decord begin


PROCESS = (sys.executable, "-m", __name__)
"""What tries steps: given the folder and the steps as JSON, it prints an answer a line."""


class Codec(NamedTuple):
    """How films of a codec are made: container, and encoders, of which the first that is there is taken."""

    name: str
    container: str
    encoders: tuple[str, ...]
    pixels: str = "yuv420p"


CODECS = {
    "H.264": Codec("H.264", "mp4", ("libx264", "h264_videotoolbox", "libopenh264")),
    "HEVC": Codec("HEVC", "mp4", ("libx265", "hevc_videotoolbox")),
    "VP9": Codec("VP9", "webm", ("libvpx-vp9",)),
    "AV1": Codec("AV1", "mp4", ("libsvtav1", "libaom-av1", "librav1e")),
    "MPEG-4": Codec("MPEG-4", "mp4", ("mpeg4",)),
    "MJPEG": Codec("MJPEG", "mov", ("mjpeg",), "yuvj420p"),
}

Step = tuple[str, str]
"""Codec and what is tried with it, one of TRIALS."""


def try_codecs(folder: Path) -> dict[str, dict[str, str]]:
    """By codec and trial, "ok" or why not in a line; films are written to the folder.

    A trial that needs a film which could not be made says so.
    """
    left: list[Step] = [(name, trial) for name in CODECS for trial in TRIALS]
    answers: dict[Step, str] = {}
    while left:
        done = in_own_process(folder, left)
        answers |= done
        left = left[len(done) :]
    return {name: {trial: answers[name, trial] for trial in TRIALS} for name in CODECS}


def in_own_process(folder: Path, steps: Sequence[Step]) -> dict[Step, str]:
    """Answers of the first steps: of all, or to the one in which the process ended or hung."""
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [*PROCESS, str(folder), json.dumps(steps)]
    environ = os.environ | {"PYTHONPATH": path}
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S, env=environ)
        told, broken = done.stdout, f"the process ended with status {done.returncode}"
    except subprocess.TimeoutExpired as err:
        told, broken = err.stdout or b"", f"no answer within {TIMEOUT_S} s"
    lines = told.decode("utf-8", "replace").splitlines()
    answers: dict[Step, str] = dict(zip(steps, map(json.loads, lines), strict=False))
    if len(answers) < len(steps):
        answers[steps[len(answers)]] = broken
    return answers


def main(folder: Path, steps: Sequence[Step]) -> None:
    """Print an answer a line, as JSON; whatever the libraries say besides is dropped."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for name, trial in steps:
        try:
            TRIALS[trial](folder, CODECS[name])
            answer = OK
        except Exception as err:
            lines = WHEN_AND_WHERE.sub("", str(err).strip()).splitlines()
            answer = lines[0] if lines else type(err).__name__
        print(json.dumps(answer), file=answers, flush=True)


def film_of(folder: Path, codec: Codec) -> Path:
    """Where the film of a codec lies."""
    return folder / f"{codec.name}.{codec.container}"


def pictures() -> list[np.ndarray]:
    """A soft pattern that moves to the right, NUM_FRAMES of (HEIGHT, WIDTH, 3) uint8."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    moved = [x + 3 * place for place in range(NUM_FRAMES)]
    waves = [(np.sin(m / 20), np.sin(y / 15), np.cos((m + y) / 25)) for m in moved]
    return [(127 + 90 * np.stack(wave, axis=2)).astype(np.uint8) for wave in waves]


def encode(folder: Path, codec: Codec) -> None:
    """Write the film; ValueError if no encoder is there."""
    import av

    from deepfake.video.write import keep_scheduling

    encoder = next((name for name in codec.encoders if name in av.codecs_available), None)
    if encoder is None:
        raise ValueError(f"PyAV was built without {', '.join(codec.encoders)}")
    unfinished = folder / f"unfinished.{codec.container}"
    with keep_scheduling(), av.open(str(unfinished), "w") as file:
        stream = file.add_stream(encoder, rate=25, options={"crf": "20"} if "lib" in encoder else {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, codec.pixels
        stream.bit_rate = 0 if "lib" in encoder else 2_000_000
        for rgb in pictures():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode(None))
    unfinished.replace(film_of(folder, codec))


def by_pyav(film: Path) -> list[np.ndarray]:
    """All frames by PyAV alone."""
    import av

    with av.open(str(film)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def by_decord(film: Path) -> list[np.ndarray]:
    """All frames by decord alone."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(str(film), num_threads=1)
    return [reader[place].asnumpy() for place in range(len(reader))]


def by_deepfake(film: Path) -> list[np.ndarray]:
    """All frames as this project reads them."""
    from deepfake.video.decode import read_clips
    from deepfake.video.probe import scan

    scanned = scan(film)
    (clip,) = read_clips(film, [np.arange(scanned.info.num_frames)], scanned=scanned)
    return list(clip.rgb)


def read(by: Callable[[Path], list[np.ndarray]], folder: Path, codec: Codec) -> None:
    """Raise ValueError unless the film's frames come back as they were drawn."""
    film = film_of(folder, codec)
    if not film.is_file():
        raise ValueError("not tried: no such film could be made")
    frames, drawn = by(film), pictures()
    if len(frames) != len(drawn):
        raise ValueError(f"{len(frames)} frames instead of {len(drawn)}")
    apart = [float(np.abs(own.astype(int) - other).mean()) for own, other in zip(frames, drawn, strict=True)]
    if max(apart) > MOST_APART:
        raise ValueError(f"frame {int(np.argmax(apart))} is {max(apart):.0f} of 255 off")


TRIALS: dict[str, Callable[[Path, Codec], None]] = {
    "encode": encode,
    "PyAV": lambda folder, codec: read(by_pyav, folder, codec),
    "decord": lambda folder, codec: read(by_decord, folder, codec),
    "deepfake": lambda folder, codec: read(by_deepfake, folder, codec),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), [(name, trial) for name, trial in json.loads(sys.argv[2])])
