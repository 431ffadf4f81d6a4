"""Hostile files for target fuzz: films that are broken in many ways, and what is no regular file."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
from PIL import Image

from deepfake.corpora.demo.face import Person
from deepfake.corpora.demo.footage import random_footage, real_frames
from deepfake.video.probe import open_video
from deepfake.video.write import keep_scheduling

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
    frames = list(islice(real_frames(random_footage(rng, Person(rng, tone=0.3))), NUM_FRAMES))
    for (suffix, codec), path in paths.items():
        write_film(path, frames, codec, FILMS[suffix, codec])
    return list(paths.values())


def write_film(path: Path, frames: Sequence[np.ndarray], codec: str, options: dict[str, str]) -> None:
    """Encode rgb frames (H, W, 3) uint8 of one even size at 25 frames a second."""
    with keep_scheduling(), av.open(str(path), "w") as container:
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


Mutation = Callable[[np.random.Generator, bytes], bytes]

HEAD_BYTES = 4096
SIZES = (0, 1, 7, 8, 255, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
"""Numbers that a careless parser stumbles over."""
BOX = re.compile(rb"[a-z][a-z0-9 ]{3}")
HUGE_16, HUGE_32 = b"\xff\xff", b"\x7f\xff\xff\xff"


def flip(rng: np.random.Generator, data: bytes, *, first: int = 0, last: int | None = None) -> bytes:
    """1 to 200 bits between two bytes the other way."""
    broken = bytearray(data)
    span = min(last or len(broken), len(broken)) - first
    for place in rng.integers(span * 8, size=int(rng.integers(1, 200))).tolist():
        broken[first + place // 8] ^= 1 << place % 8
    return bytes(broken)


def flip_head(rng: np.random.Generator, data: bytes) -> bytes:
    """Bits of the first or the last bytes, where headers and indices are."""
    if rng.integers(2):
        return flip(rng, data, last=HEAD_BYTES)
    return flip(rng, data, first=max(len(data) - HEAD_BYTES, 0))


def cut(rng: np.random.Generator, data: bytes) -> bytes:
    """Some first bytes only."""
    return data[: int(rng.integers(1, len(data)))]


def blank(rng: np.random.Generator, data: bytes) -> bytes:
    """A stretch of zeros or of noise in place of what was there."""
    start, length = int(rng.integers(len(data))), int(rng.integers(1, len(data) // 4 + 2))
    length = min(length, len(data) - start)
    filling = bytes(length) if rng.integers(2) else rng.bytes(length)
    return data[:start] + filling + data[start + length :]


def swap_boxes(rng: np.random.Generator, data: bytes) -> bytes:
    """Stretches, which begin at names such as moov or trak where there are some, in another order."""
    marks = [match.start() for match in BOX.finditer(data[: 1 << 16])] or [0]
    marks = sorted({*(max(m - 4, 0) for m in marks), len(data) // 2, len(data)})
    cuts = sorted(rng.choice(len(marks), size=min(4, len(marks)), replace=False).tolist())
    at = [0, *(marks[c] for c in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(at)]
    return b"".join(pieces[i] for i in rng.permutation(len(pieces)))


def resize_boxes(rng: np.random.Generator, data: bytes) -> bytes:
    """Odd numbers where the size of a box of MP4 or AVI or an element's of Matroska stands."""
    broken = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        number = int(rng.choice(SIZES)).to_bytes(4, "little" if data[:4] == b"RIFF" else "big")
        marks = [match.start() for match in BOX.finditer(data[: 1 << 16])]
        mark = int(rng.choice(marks)) if marks else int(rng.integers(HEAD_BYTES))
        place = mark + 4 if data[:4] == b"RIFF" else max(mark - 4, 0)
        if data[:4] == b"\x1a\x45\xdf\xa3":
            place = int(rng.integers(min(HEAD_BYTES, len(data))))
        broken[place : place + 4] = number
    return bytes(broken)


def enlarge(rng: np.random.Generator, data: bytes) -> bytes:
    """Huge width and height in the header."""
    if data[:4] == b"RIFF":  # avih, then the stream's BITMAPINFOHEADER
        return put(put(data, b"avih", 4 + 4 + 32, HUGE_16 * 4), b"strf", 4 + 4 + 4, HUGE_32[::-1] * 2)
    if data[:4] == b"\x1a\x45\xdf\xa3":  # PixelWidth and PixelHeight
        return put(put(data, b"\xb0\x82", 2, HUGE_16), b"\xba\x82", 2, HUGE_16)
    for name in (b"avc1", b"hvc1", b"hev1", b"av01", b"mp4v", b"jpeg"):
        data = put(data, name, 4 + 24, HUGE_16 * 2)
    return put(data, b"tkhd", 4 + 76, HUGE_32 * 2)


def lengthen(rng: np.random.Generator, data: bytes) -> bytes:
    """Endless durations and counts of frames in the header."""
    if data[:4] == b"RIFF":
        return put(put(data, b"avih", 8 + 16, b"\xff" * 4), b"strh", 8 + 32, b"\xff" * 4)
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return put(data, b"\x44\x89\x88", 3, b"\x7f\xef" + b"\xff" * 6)  # Duration, the largest double
    data = put(put(data, b"mvhd", 4 + 16, b"\xff" * 4), b"mdhd", 4 + 16, b"\xff" * 4)
    counts = ((b"stsz", 4 + 8), (b"stts", 4 + 4), (b"stts", 4 + 8), (b"stsc", 4 + 4))
    name, place = counts[int(rng.integers(len(counts)))]
    constant = b"\0\0\0\1" if name == b"stsz" and rng.integers(2) else b""
    data = put(data, name, place, int(rng.choice(SIZES[4:])).to_bytes(4, "big"))
    return put(data, name, 4 + 4, constant)


def put(data: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """The bytes with a value so far behind the first mention of a name, if it is mentioned."""
    place = data.find(name)
    if place < 0:
        return data
    place += offset
    return data[:place] + value + data[place + len(value) :]


def empty_file(rng: np.random.Generator, data: bytes) -> bytes:
    """An empty file."""
    return b""


def other_format(rng: np.random.Generator, data: bytes) -> bytes:
    """What is no film."""
    picture = io.BytesIO()
    Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=np.uint8)).save(picture, "PNG")
    starts = (
        b"\x7fELF\2\1\1",
        b"PK\3\4",
        b"%PDF-1.7\n",
        b"RIFF\xff\xff\xff\x7fWAVEfmt ",
        b"GIF89a\xff\xff\xff\xff",
    )
    return [picture.getvalue(), *(start + rng.bytes(5000) for start in starts)][int(rng.integers(6))]


def text(rng: np.random.Generator, data: bytes) -> bytes:
    """Letters."""
    return bytes(rng.integers(32, 127, size=int(rng.integers(1, 5000)), dtype=np.uint8))


def playlist(rng: np.random.Generator, data: bytes) -> bytes:
    """Lists of other files and addresses, which must not be opened."""
    lists = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXTINF:9,\nfile:///etc/passwd\n",
        "ffconcat version 1.0\nfile /etc/passwd\nfile http://127.0.0.1:9/a.mp4\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        "<AdaptationSet><Representation><BaseURL>http://127.0.0.1:9/</BaseURL></Representation>"
        "</AdaptationSet></Period></MPD>",
        "[playlist]\nFile1=/dev/zero\n",
    )
    return lists[int(rng.integers(len(lists)))].encode()


MUTATIONS: dict[str, Mutation] = {
    "whole": lambda rng, data: data,
    "bits": flip,
    "head_bits": flip_head,
    "cut": cut,
    "blank": blank,
    "swapped": swap_boxes,
    "resized": resize_boxes,
    "huge": enlarge,
    "endless": lengthen,
    "empty": empty_file,
    "other": other_format,
    "text": text,
    "playlist": playlist,
}


def make_pipe(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    """A socket; its name may be no longer than about 100 bytes, so it is made where it is called shortly."""
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            made.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def make_dead_link(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to("nowhere.mp4")


def make_device_link(path: Path) -> None:
    """A link to a device that never ends."""
    path.symlink_to("/dev/zero")


def make_list_of_itself(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path.name)


SPECIAL_FILES: dict[str, Callable[[Path], None]] = {
    "pipe": make_pipe,
    "socket": make_socket,
    "dead_link": make_dead_link,
    "device": make_device_link,
    "loop": make_list_of_itself,
}
"""What is made under a film's name and is no regular file."""


KINDS = (*MUTATIONS, *SPECIAL_FILES)


def make_files(sources: Sequence[Path], folder: Path, *, count: int, seed: int, odd: bool) -> list[Path]:
    """So many files NNNNN_kind.suffix, of each kind alike many, in folder/real and folder/fake.

    odd: also things that are no regular file. The same arguments make the same bytes.
    """
    kinds = KINDS if odd else tuple(MUTATIONS)
    contents = [(path.suffix, path.read_bytes()) for path in sources]
    for name in ("real", "fake"):
        (folder / name).mkdir(parents=True)
    made = []
    for index in range(count):
        rng, kind = np.random.default_rng([seed, index]), kinds[index % len(kinds)]
        suffix, data = contents[int(rng.integers(len(contents)))]
        path = folder / ("real", "fake")[index // len(kinds) % 2] / f"{index:05}_{kind}{suffix}"
        if kind in SPECIAL_FILES:
            SPECIAL_FILES[kind](path)
        else:
            path.write_bytes(MUTATIONS[kind](rng, data))
        made.append(path)
    return made


def kind_of(path: Path) -> str:
    """How a file was made."""
    return path.stem.partition("_")[2]
