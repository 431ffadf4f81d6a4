"""Target fuzz: hostile files through prediction or extraction, which must give one row per file."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import torch
from PIL import Image
from rich.table import Table

from benchmarks.bench import Bench, BenchmarkResult
from benchmarks.films import listed
from deepfake.config import build
from deepfake.corpora.demo.face import Person
from deepfake.corpora.demo.footage import random_footage, real_frames
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.io import short_path
from deepfake.reports.html import TextConsole
from deepfake.training.checkpoint import KEY, WEIGHTS, Checkpoint
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


def nothing(rng: np.random.Generator, data: bytes) -> bytes:
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
    "empty": nothing,
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


ODDITIES: dict[str, Callable[[Path], None]] = {
    "pipe": make_pipe,
    "socket": make_socket,
    "dead_link": make_dead_link,
    "device": make_device_link,
    "loop": make_list_of_itself,
}
"""What is made under a film's name and is no regular file."""


LOOK_S = 0.2
TOOK = re.compile(r"item \d+ took ([\d.]+) s")
KINDS = (*MUTATIONS, *ODDITIES)


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
        if kind in ODDITIES:
            ODDITIES[kind](path)
        else:
            path.write_bytes(MUTATIONS[kind](rng, data))
        made.append(path)
    return made


def kind_of(path: Path) -> str:
    """How a file was made."""
    return path.stem.partition("_")[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ran: status is None if it was killed at its deadline.

    peak_mb: resident memory of all its processes together, shared pages counted in each; largest_mb: of one.
    """

    status: int | None
    seconds: float
    peak_mb: float
    largest_mb: float


def run_watched(command: Sequence[str], output: Path, *, deadline_s: float) -> Ended:
    """Run a command to its end, with what it prints in a file, or kill it and all that it started."""
    start, peak, largest = time.monotonic(), 0.0, 0.0
    with output.open("wb") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while (status := process.poll()) is None and time.monotonic() - start < deadline_s:
            sizes = memories_mb(process.pid)
            peak, largest = max(peak, sum(sizes)), max([largest, *sizes])
            time.sleep(LOOK_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Ended(status, time.monotonic() - start, peak, largest)


def memories_mb(pid: int) -> list[float]:
    """Resident memory of a process and of each that it started, in 10^6 bytes."""
    sizes = []
    with suppress(psutil.Error):
        for process in (top := psutil.Process(pid)), *top.children(recursive=True):
            with suppress(psutil.Error):
                sizes.append(process.memory_info().rss / 1e6)
    return sizes


def longest_s(log: Path) -> float:
    """The longest that an item took, by a run's log with the lines of deepfake.parallel.pool."""
    return max((float(found[1]) for found in TOOK.finditer(log.read_text(errors="replace"))), default=0.0)


def predicted_reasons(run_dir: Path) -> dict[str, list[str]]:
    """The reasons in predictions.csv by file: one each, empty for a file that was scored."""
    reasons: dict[str, list[str]] = {}
    with (run_dir / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            reasons.setdefault(row["file"], []).append(row["reason"] if row["status"] == "error" else "")
    return reasons


def extracted_reasons(store: Path) -> dict[str, list[str]]:
    """The same of a face store's manifest."""
    import pyarrow.parquet as pq

    reasons: dict[str, list[str]] = {}
    for row in pq.read_table(store / "manifest.parquet").to_pylist():
        lost = row["reason"] if not row["sampled_frames"] else ""
        reasons.setdefault(row["path"], []).append(lost)
    return reasons


def outcome_of(reason: str) -> str:
    """A few words for a reason: read, refused, limit, too slow, too large, crashed."""
    if not reason:
        return "read"
    for word, said in {
        "TimeLimitReached": "too slow",
        "MemoryLimitReached": "too large",
        "WorkerDied": "crashed",
        "LimitReached": "beyond limits",
    }.items():
        if word in reason:
            return said
    return "refused"


def tally(files: Sequence[Path], reasons: dict[str, list[str]]) -> dict[str, Counter[str]]:
    """Outcomes by kind of file."""
    counts: dict[str, Counter[str]] = {}
    for path in files:
        for reason in reasons.get(str(path), ["no row"]):
            outcome = "no row" if reason == "no row" else outcome_of(reason)
            counts.setdefault(kind_of(path), Counter())[outcome] += 1
    return counts


def unaccounted(files: Sequence[Path], reasons: dict[str, list[str]]) -> list[str]:
    """Files without a row, or with more than one, and rows of no file."""
    names = {str(path) for path in files}
    wrong = [name for name in names if len(reasons.get(name, [])) != 1]
    return sorted(wrong + [name for name in reasons if name not in names])


SCRIPTS = Path(__file__).parents[1] / "scripts"
SPARE_S = 15  # a busy machine notices late that an item has ended, and starts a new process
TASKS = ("predict", "extract")


def measure(
    bench: Bench,
    *,
    task: str,
    checkpoint: str | None,
    net: Mapping[str, Any],
    input: str | Sequence[str] | None,
    files: int,
    seed: int,
    deadline_s: float,
    parallel: Mapping[str, Any],
) -> BenchmarkResult:
    """The figures fuzz/…, and outcomes by kind of file as details; the files stay in the run folder.

    task: predict or extract. checkpoint: for prediction; None makes one of net, untrained. input: a user's
    films, which are broken too. deadline_s: of the whole command. parallel: values of conf/parallel, with the
    limits of each file. Raises UserError for a wrong task or number of files.
    """
    if task not in TASKS:
        raise UserError(f"fuzz={task}: must be one of {', '.join(TASKS)}")
    if not isinstance(files, int) or files < 1:
        raise UserError(f"files={files}: must be at least 1")
    run_dir = bench.run_dir.absolute()
    sources = render_films(run_dir / "films") + copy_films(listed(input), run_dir / "copies")
    made = make_files(sources, run_dir / "files", count=files, seed=seed, odd=task == "predict")
    log.info("%d hostile files in %s, made of %d films", files, short_path(run_dir / "files"), len(sources))
    out = run_dir / task
    if task == "predict":
        checkpoint = checkpoint or str(untrained_checkpoint(run_dir / "untrained.ckpt", net, bench.settings))
        own = [f"checkpoint={checkpoint}", f"input={run_dir / 'files'}", "pages=false"]
    else:
        own = ["data=folder", f"data.root={run_dir / 'files'}", f"data.store={out / 'store'}"]
    ended = run_watched(
        [*command(task, own, parallel), f"hydra.run.dir='{out}'"],
        run_dir / "output.txt",
        deadline_s=deadline_s,
    )
    reasons: dict[str, list[str]] = {}
    if ended.status in (0, 1):
        reasons = predicted_reasons(out) if task == "predict" else extracted_reasons(out / "store")
    longest = longest_s(out / f"{task}.log") if ended.status is not None else 0.0
    problems = find_problems(
        ended, longest, unaccounted(made, reasons), deadline_s=deadline_s, limit_s=parallel["time_limit_s"]
    )
    counts = tally(made, reasons)
    TextConsole().print(outcome_table(counts))
    figures = {
        "fuzz/files": files,
        "fuzz/seconds": ended.seconds,
        "fuzz/files_per_s": files / ended.seconds,
        "fuzz/longest_file_s": longest,
        "fuzz/peak_memory_mb": ended.peak_mb,
        "fuzz/peak_memory_one_process_mb": ended.largest_mb,
        "fuzz/problems": len(problems),
    }
    details = {
        "task": task,
        "seed": seed,
        "status": ended.status,
        "outcomes": dict(sum(counts.values(), Counter())),
        "outcomes_by_kind": {kind: dict(found) for kind, found in counts.items()},
        "problems": problems,
    }
    return BenchmarkResult(figures, details, failure="; ".join(problems))


def untrained_checkpoint(path: Path, net: Mapping[str, Any], settings: FaceSettings) -> Path:
    """Write a checkpoint of an untrained detector, whose scores mean nothing."""
    checkpoint = Checkpoint(net=dict(net), faces=settings)
    weights = {WEIGHTS + name: value for name, value in build(net).state_dict().items()}
    torch.save({KEY: checkpoint.to_dict(), "state_dict": weights}, path)
    return path


def command(task: str, own: Sequence[str], parallel: Mapping[str, Any]) -> list[str]:
    """A script's command line with its own overrides and those of conf/parallel, as a user would type it."""
    given = [f"parallel.{name}={'null' if value is None else value}" for name, value in parallel.items()]
    script = str(SCRIPTS / f"{task}.py")
    return [sys.executable, script, *own, *given, "hydra.verbose=deepfake.parallel.pool"]


def find_problems(
    ended: Ended, longest: float, wrong: Sequence[str], *, deadline_s: float, limit_s: float | None
) -> list[str]:
    """What must not happen and did. wrong: files without exactly one row. limit_s: of one file."""
    problems = []
    if ended.status is None:
        problems.append(f"the run did not end within {deadline_s:g} s (deadline_s)")
    elif ended.status not in (0, 1):
        problems.append(f"the run ended with status {ended.status}")
    if limit_s is not None and longest > limit_s + SPARE_S:
        problems.append(f"a file took {longest:.1f} s, its limit was {limit_s:g} s")
    if wrong:
        problems.append(f"{len(wrong)} files do not have exactly one row, {Path(wrong[0]).name} for example")
    return problems


def outcome_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """How many files of each kind had which outcome."""
    outcomes = list(dict.fromkeys(outcome for found in counts.values() for outcome in found))
    table = Table("kind", *outcomes, title="hostile files", title_justify="left")
    for kind, found in counts.items():
        table.add_row(kind, *(str(found.get(outcome, "")) for outcome in outcomes))
    return table
