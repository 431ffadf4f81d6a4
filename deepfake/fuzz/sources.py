"""Whole films to be broken: rendered ones of every container, and a user's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import av
import numpy as np

from deepfake.corpora.demo.fakes import real_frames
from deepfake.corpora.demo.footage import random_footage
from deepfake.corpora.demo.people import random_person
from deepfake.video.probe import open_video
from deepfake.video.write import scheduling_kept

log = logging.getLogger(__name__)

NUM_FRAMES = 24
FILMS = {  # suffix and codec of what is rendered, with options that make it fast
    ("mp4", "libx264"): {"preset": "veryfast", "bf": "2"},
    ("mp4", "libsvtav1"): {"preset": "12"},
    ("mov", "libx264"): {"preset": "veryfast"},
    ("mov", "mjpeg"): {},
    ("mkv", "libx265"): {"preset": "ultrafast", "x265-params": "log-level=none"},
    ("mkv", "libx264"): {"preset": "veryfast"},
    ("webm", "libvpx-vp9"): {"deadline": "realtime", "cpu-used": "8"},
    ("avi", "mpeg4"): {},
    ("avi", "libx264"): {"preset": "veryfast"},
}
COPIED = ("mp4", "mov", "mkv", "avi")  # containers that a user's film is copied into


def render_films(folder: Path) -> list[Path]:
    """A talking head in each of FILMS; those that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{kind[1]}.{kind[0]}" for kind in FILMS}
    os.environ.setdefault("SVT_LOG", "1")  # errors only, of the AV1 encoder
    if all(path.is_file() for path in paths.values()):
        return list(paths.values())
    rng = np.random.default_rng(0)
    frames = list(islice(real_frames(random_footage(rng, random_person(rng, tone=0.3))), NUM_FRAMES))
    for (suffix, codec), path in paths.items():
        write_film(path, frames, codec, FILMS[suffix, codec])
    return list(paths.values())


def write_film(path: Path, frames: Sequence[np.ndarray], codec: str, options: dict[str, str]) -> None:
    """Encode rgb frames (H, W, 3) uint8 of one even size at 25 frames a second."""
    with scheduling_kept(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")))
        container.mux(stream.encode())


def copy_films(sources: Sequence[Path], folder: Path) -> list[Path]:
    """The beginnings of a user's films, without sound, in each of COPIED that can hold them."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for number, source in enumerate(sources):
        for suffix in COPIED:
            path = folder / f"film{number:03}.{suffix}"
            try:
                copy_film(source, path)
            except (av.FFmpegError, ValueError) as err:
                log.info("%s is left out: %s", path.name, err)
                path.unlink(missing_ok=True)
            else:
                copies.append(path)
    return copies


def copy_film(source: Path, path: Path) -> None:
    """Copy the first packets of a film's picture."""
    container, stream = open_video(source)
    with container, av.open(str(path), "w") as copy:
        own = copy.add_stream_from_template(stream)
        for packet in islice(container.demux(stream), NUM_FRAMES):
            if packet.dts is not None:
                packet.stream = own
                copy.mux(packet)
