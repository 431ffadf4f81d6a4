"""What a bug report needs, without private data: versions, machine, codecs, a self-test of the commands."""

from __future__ import annotations

import getpass
import logging
import netrc
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires
from io import StringIO
from itertools import islice
from pathlib import Path
from subprocess import PIPE, STDOUT, CalledProcessError
from typing import Any

import av
import numpy as np
import psutil
import torch
from omegaconf import DictConfig
from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

import deepfake
from deepfake.config import to_plain
from deepfake.corpora.demo.corpus import person_of
from deepfake.corpora.demo.footage import random_footage, real_frames, reenacted_frames
from deepfake.errors import SomeFailed, UserError
from deepfake.io import short_path, write_csv, write_json, write_text
from deepfake.parallel.pool import Executor, Failure, num_cores, size_in_bytes
from deepfake.records import SPLITS
from deepfake.reports.html import TextConsole
from deepfake.reports.runs import commit
from deepfake.video.decode import read_clips
from deepfake.video.probe import scan
from deepfake.video.write import keep_scheduling, write_video

log = logging.getLogger(__name__)

PROJECT, SCRIPTS = "deepfake", Path(__file__).parents[2] / "scripts"
TEXT, JSON, LOG = "doctor.txt", "doctor.json", "selftest.log"
MIN_DISK_BYTES, MIN_SHARED_BYTES, MIN_OPEN_FILES = 5e9, 256e6, 1024
STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim"}

NUM_FRAMES, HEIGHT, WIDTH, MAX_DIFFERENCE = 8, 96, 128, 10.0  # of a pixel, out of 255
CODECS = {  # container, and encoders, of which the first that is installed is used
    "H.264": ("mp4", ("libx264", "h264_videotoolbox", "libopenh264")),
    "HEVC": ("mp4", ("libx265", "hevc_videotoolbox")),
    "VP9": ("webm", ("libvpx-vp9",)),
    "AV1": ("mp4", ("libsvtav1", "libaom-av1", "librav1e")),
    "MPEG-4": ("mp4", ("mpeg4",)),
    "MJPEG": ("mov", ("mjpeg",)),
}
READERS = ("PyAV", "decord", "deepfake")

SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
MIN_SECRET_CHARS = 6  # shorter values of such variables, 1 or true, are switches

Report = dict[str, Any]


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Print the report and write doctor.txt and doctor.json; raises SomeFailed if a stage failed."""
    selftest = to_plain(cfg)["selftest"]
    if not isinstance(selftest, bool):
        raise UserError(f"selftest={selftest}: true or false")
    console = TextConsole(file=sys.stdout)
    with console.status("collecting", spinner="line"), tempfile.TemporaryDirectory() as folder:
        system, problems = examine_system(run_dir)
        libraries, extras = examine_packages()
        codecs = try_codecs(Path(folder))
    report: Report = {"system": system, "libraries": libraries, "codecs": codecs, "extras": extras}
    report = scrub({**report, "selftest": [], "notes": find_problems(libraries, codecs) + problems})
    write_report(run_dir, report)
    console.print(facts_table(report))
    if selftest:
        output = StringIO()
        with tempfile.TemporaryDirectory() as folder:
            for stage in run_stages(Path(folder), output):
                report["selftest"].append(scrub(stage))
                console.print(stage_line(report["selftest"][-1]))
        write_text(run_dir / LOG, scrub(output.getvalue()))
        write_report(run_dir, report)
    console.print(problems_text(report))
    log.info("\nwritten to %s: %s, %s", scrub(short_path(run_dir)), TEXT, JSON)
    if failed := [stage["stage"] for stage in report["selftest"] if stage["status"] == "failed"]:
        raise SomeFailed(f"self-test: {failed[0]} failed; see {short_path(run_dir / LOG)}")


def write_report(run_dir: Path, report: Report) -> None:
    """doctor.json, and doctor.txt as the terminal shows it, without colours."""
    write_json(run_dir / JSON, report)
    text = StringIO()
    console = TextConsole(file=text, width=100, color_system=None, force_terminal=False)
    console.print(facts_table(report), *map(stage_line, report["selftest"]), problems_text(report), sep="\n")
    write_text(run_dir / TEXT, "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def facts_table(report: Report) -> Table:
    """Names beside values, which wrap in a column of their own, section by section."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for section in ("system", "libraries", "codecs", "extras"):
        table.add_row(Text(section, "bold cyan"))
        for name, value in report[section].items():
            words = value if section != "codecs" else ", ".join(f"{what} {value[what]}" for what in value)
            table.add_row(Text(f"  {name}", "dim"), Text(words))
    return table


def problems_text(report: Report) -> Text:
    """What is likely to cause problems."""
    return Text("\n".join(["", *(report["notes"] or ["No problem was found."])]))


def stage_line(stage: Report) -> Text:
    """A stage of the self-test with its seconds, status and error."""
    seconds = "" if stage["seconds"] is None else f"{stage['seconds']:.1f} s"
    status = (stage["status"], STYLES[stage["status"]])
    error = f"  {stage['error']}".rstrip()
    return Text.assemble(f"self-test {stage['stage']:<9}{seconds:>7}  ", status, error)


def find_problems(libraries: dict[str, str], codecs: dict[str, dict[str, str]]) -> list[str]:
    """Libraries and codecs that are likely to cause problems, each with what to do about it."""
    found = [f"{name} {value}: uv sync" for name, value in libraries.items() if " " in value]
    if not libraries:
        found.append("this project is not installed, so its requirements cannot be checked: uv sync")
    return found + [
        f"{name} cannot be read: {answers['deepfake']}"
        for name, answers in codecs.items()
        if answers["encode"] == "ok" != answers["deepfake"]
    ]


def examine_system(run_dir: Path) -> tuple[dict[str, str], list[str]]:
    """Versions, processor, memory, GPUs, disks and limits in words, and problems with what to do."""
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(
        r"model name\s*: (.*)", cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    )
    processor = model[1] if model else platform.processor() or platform.machine()
    try:
        login = os.environ.get("WANDB_API_KEY") or netrc.netrc().authenticators("api.wandb.ai")
    except (OSError, netrc.NetrcParseError):
        login = None
    facts = {
        "deepfake": f"{deepfake.__version__}, commit {commit()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "FFmpeg": f"{av.ffmpeg_version_info} in PyAV",
        "processor": f"{processor}, {num_cores()} of {os.cpu_count()} cores",
        "memory": f"{gigabytes(size_in_bytes('auto'))}, {gigabytes(psutil.virtual_memory().available)} free",
        "GPU": "; ".join(f"{gpu.name}, {gigabytes(gpu.total_memory)}" for gpu in gpus) or "no CUDA device",
        "CUDA of torch": torch.version.cuda or "none",
        "W&B": f"{os.environ.get('WANDB_MODE', 'online')}, {'logged in' if login else 'not logged in'}",
    }
    problems = []
    if not gpus and torch.version.cuda and Path("/proc/driver/nvidia/version").is_file():
        problems.append("an NVIDIA driver, but no GPU for torch: compare its CUDA version with nvidia-smi's")
    for name, place, min_bytes, todo in (
        ("outputs", run_dir, MIN_DISK_BYTES, "make room"),
        ("temporary", tempfile.gettempdir(), MIN_DISK_BYTES, "make room"),
        ("shared memory", "/dev/shm", MIN_SHARED_BYTES, "docker run --shm-size=2g, or data.num_workers=0"),
    ):
        if Path(place).is_dir():
            disk = shutil.disk_usage(place)
            facts[name] = f"{gigabytes(disk.free)} free of {gigabytes(disk.total)}"
            if disk.free < min_bytes:
                problems.append(f"{name}: {gigabytes(disk.free)} free; {todo}")
    if hasattr(psutil, "RLIMIT_NOFILE"):  # Linux
        files = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0]
        facts["open files"] = "no limit" if files < 0 else f"at most {files}"
        if 0 <= files < MIN_OPEN_FILES:
            problems.append(f"only {files} files can be open at a time: ulimit -n 4096")
    return facts, problems


def gigabytes(num_bytes: float) -> str:
    """Bytes in GB of 10^9."""
    return f"{num_bytes / 1e9:.1f} GB"


def examine_packages(project: str = PROJECT) -> tuple[dict[str, str], dict[str, str]]:
    """Each required package with its version or why that is wrong; each extra: ok, or what adds it.

    Both are empty if the project is not installed.
    """
    try:
        extras = metadata(project).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return {}, {}
    requirements = [Requirement(text) for text in requires(project) or ()]

    def applies(one: Requirement, extra: str = "") -> bool:
        return one.marker is None or one.marker.evaluate({"extra": extra})

    libraries = {one.name: check_version(one) for one in requirements if applies(one)}
    added = {}
    for extra in extras:
        own = [one for one in requirements if applies(one, extra) and not applies(one)]
        missing = [f"{one.name} {found}" for one in own if " " in (found := check_version(one))]
        added[extra] = f"{', '.join(missing)}; uv sync --extra {extra} adds it" if missing else "ok"
    return libraries, added


def check_version(requirement: Requirement) -> str:
    """The installed version if it suits, else a sentence without a subject."""
    try:
        found = metadata(requirement.name)["Version"]
    except (PackageNotFoundError, KeyError):  # KeyError: a folder left by an interrupted installation
        return "is not installed"
    fits = requirement.specifier.contains(found, prereleases=True)
    return found if fits else f"{found} is outside {requirement.specifier}"


def try_codecs(
    folder: Path, attempt: Callable[[tuple[str, str]], str] | None = None, *, timeout_s: float = 60
) -> dict[str, dict[str, str]]:
    """Write a short video with each codec and read it back: "ok" or the reason, by codec and attempt.

    Attempts are "encode" and READERS. Each runs in a worker process, since decoders may crash or hang.
    """
    attempts = [(codec, what) for codec in CODECS for what in ("encode", *READERS)]
    answers: dict[str, dict[str, str]] = {codec: {} for codec in CODECS}
    executor = Executor(num_workers=1, time_limit_s=timeout_s)
    for outcome in executor.map_unordered(attempt or partial(try_codec, folder), attempts):
        (codec, what), result = outcome.item, outcome.result
        answers[codec][what] = result.reason if isinstance(result, Failure) else result
    return answers


def try_codec(folder: Path, attempt: tuple[str, str]) -> str:
    """ "ok" if a codec's video could be written, or read as it was drawn; raises RuntimeError if not."""
    codec, what = attempt
    container, encoders = CODECS[codec]
    path = folder / f"{codec}.{container}"
    if what == "encode":
        encoder = next((name for name in encoders if name in av.codecs_available), None)
        if encoder is None:
            raise RuntimeError(f"PyAV was built without {', '.join(encoders)}")
        encode(path, encoder)
    elif not path.is_file():
        raise RuntimeError("not tried: the video could not be written")
    else:
        compare(read_frames(path, what), moving_waves())
    return "ok"


def encode(path: Path, encoder: str) -> None:
    """Write the test pattern."""
    unfinished = path.with_stem("unfinished")
    with keep_scheduling(), av.open(str(unfinished), "w") as file:
        stream: Any = file.add_stream(encoder, rate=25, options={"crf": "20"} if "lib" in encoder else {})
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        stream.bit_rate = 0 if "lib" in encoder else 2_000_000
        for rgb in moving_waves():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode(None))
    unfinished.replace(path)


def compare(frames: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Raise RuntimeError for another number of frames, or another picture than a codec may make of it."""
    if len(frames) != len(expected):
        raise RuntimeError(f"{len(frames)} frames instead of {len(expected)}")
    differences = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, expected, strict=True)]
    if max(differences) > MAX_DIFFERENCE:
        raise RuntimeError(f"frame {int(np.argmax(differences))} differs by {max(differences):.0f} of 255")


def moving_waves() -> list[np.ndarray]:
    """Soft waves that move to the right, NUM_FRAMES of (HEIGHT, WIDTH, 3) uint8."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    moved = (x + 3 * index for index in range(NUM_FRAMES))
    waves = [(np.sin(m / 20), np.sin(y / 15), np.cos((m + y) / 25)) for m in moved]
    return [(127 + 90 * np.stack(wave, axis=2)).astype(np.uint8) for wave in waves]


def read_frames(path: Path, reader: str) -> list[np.ndarray]:
    """All frames by one of READERS."""
    if reader == "PyAV":
        with av.open(str(path)) as file:
            return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    if reader == "decord":
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        video = decord.VideoReader(str(path), num_threads=1)
        return [video[index].asnumpy() for index in range(len(video))]
    scanned = scan(path)
    (clip,) = read_clips(path, [np.arange(scanned.info.num_frames)], scanned=scanned)
    return list(clip.rgb)


def scrub(value: Any) -> Any:
    """The value with secrets, home folder, user and host name replaced in all its texts, also in keys.

    It may consist of dicts, lists and tuples (which become lists); values that are no text stay.
    """
    if isinstance(value, dict):
        return {scrub(name): scrub(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(inner) for inner in value]
    if isinstance(value, str):
        for pattern, replacement in scrub_rules():
            value = re.sub(pattern, replacement, value)
    return value


def scrub_rules() -> list[tuple[str, str]]:
    """Patterns and what replaces them, in this order."""
    secrets = {value for name, value in os.environ.items() if SECRET_NAME.search(name)}
    secrets = {value for value in secrets if len(value) >= MIN_SECRET_CHARS and not Path(value).exists()}
    rules = [(re.escape(value), "<secret>") for value in sorted(secrets, key=len, reverse=True)]
    rules.append((r"(?<=://)[^\s/@]+@", "<secret>@"))
    if len(home := str(Path.home())) > 1:
        rules.append((re.escape(home) + r"(?![\w-])", "~"))
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without a name, as in some containers
        user = ""
    for name, replacement in ((user, "<user>"), (platform.node(), "<host>")):
        if name and "localhost" not in name:
            # whole words: neither the "root" of data.root nor a part of a longer word
            rules.append((rf"(?<![\w.-]){re.escape(name)}(?![\w-])", replacement))
    return rules


# Self-test: each command as a user would run it, on two tiny videos


def render(folder: Path) -> str:
    """Write a real video and a fake made from it; the same two are in each split."""
    rng = np.random.default_rng(0)
    footage = random_footage(rng, person_of(0, 0))
    frames = list(islice(real_frames(footage), 12))
    rows = []
    for label, pictures in ("real", frames), ("fake", reenacted_frames(rng, footage, iter(frames))):
        write_video(folder / f"{label}.mp4", pictures, fps=footage.fps)
        for split in SPLITS:
            shutil.copyfile(folder / f"{label}.mp4", folder / f"{split}_{label}.mp4")
            rows.append({"path": f"{split}_{label}.mp4", "label": label, "split": split})
    write_csv(folder / "videos.csv", ("path", "label", "split"), rows)
    return "rendered\n"


def run_command(task: str, overrides: tuple[str, ...], folder: Path) -> str:
    """Run a command in the folder; returns its output, raises CalledProcessError if it fails."""
    command = [sys.executable, str(SCRIPTS / f"{task}.py"), *overrides, f"hydra.run.dir={task}"]
    return subprocess.run(command, cwd=folder, check=True, stdout=PIPE, stderr=STDOUT, text=True).stdout


# two processes each for extraction and loading, so that what these need is tested too
DATA = ("data=csv", "data.root=videos.csv", "data.store=store", "parallel.num_workers=2")
FACES = ("faces.num_clips=1", "faces.clip_frames=12")
LOADING = (*DATA, "data.num_workers=1", "data.batch_size=4", "resamples=0")
TRAINING = ("trainer.max_epochs=1", "data.windows_per_video=4", "data.eval_windows=4")
CHECKPOINT = "checkpoint=train/checkpoints/best.ckpt"
COMMANDS = {
    "extract": (*DATA, *FACES),
    "train": (*LOADING, *FACES, *TRAINING),
    "evaluate": (*LOADING, CHECKPOINT, "split=val"),
    "predict": (CHECKPOINT, "input=[real.mp4,fake.mp4]", "parallel.num_workers=2"),
}
STAGES: dict[str, Callable[[Path], str]] = {
    "render": render,
    **{task: partial(run_command, task, overrides) for task, overrides in COMMANDS.items()},
}


def run_stages(folder: Path, output: StringIO) -> Iterator[Report]:
    """Each stage with its status ok or failed, seconds and error; those after a failed one are skipped.

    output: gets what the commands print, and tracebacks.
    """
    error = ""
    for name, stage in STAGES.items():
        if error:
            yield {"stage": name, "status": "skipped", "seconds": None, "error": ""}
            continue
        start_s = time.perf_counter()
        try:
            output.write(stage(folder))
        except Exception as err:
            said = err.output if isinstance(err, CalledProcessError) else traceback.format_exc()
            output.write(said)
            lines = said.strip().splitlines() or [""]
            last = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
            error = f"{last} ({type(err).__name__})"
        seconds = round(time.perf_counter() - start_s, 2)
        yield {"stage": name, "status": "failed" if error else "ok", "seconds": seconds, "error": error}
