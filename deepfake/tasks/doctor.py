"""What a bug report needs, without private data: versions, machine, codecs, a self-test of the commands."""

from __future__ import annotations

import getpass
import json
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
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from io import StringIO
from itertools import islice
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import av
import numpy as np
import psutil
import torch
from omegaconf import DictConfig
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

import deepfake
from deepfake.config import to_plain
from deepfake.corpora.demo.corpus import person_of
from deepfake.corpora.demo.fakes import real_frames, reenacted_frames
from deepfake.corpora.demo.footage import random_footage
from deepfake.errors import SomeFailed, UserError
from deepfake.io import short_path, write_csv
from deepfake.parallel import Executor, Failure, num_cores, size_in_bytes
from deepfake.records import SPLITS
from deepfake.reports.html import TextConsole
from deepfake.reports.runs import commit
from deepfake.video.decode import read_clips
from deepfake.video.probe import scan
from deepfake.video.write import keep_scheduling, write_video

log = logging.getLogger(__name__)

PROJECT, SCRIPTS = "deepfake", Path(__file__).parents[2] / "scripts"
TEXT, JSON, LOG = "doctor.txt", "doctor.json", "selftest.log"
TEXT_CHARS = 100  # width of doctor.txt
MIN_DISK_BYTES, MIN_SHARED_BYTES, MIN_OPEN_FILES = 5e9, 256e6, 1024
STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim"}

Report = dict[str, Any]


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Print the report and write doctor.txt and doctor.json; raises SomeFailed if a stage failed."""
    selftest = to_plain(cfg)["selftest"]
    if not isinstance(selftest, bool):
        raise UserError(f"selftest={selftest}: true or false")
    console = TextConsole(file=sys.stdout)
    with console.status("collecting", spinner="line"), tempfile.TemporaryDirectory() as folder:
        report = scrub(examine(run_dir, Path(folder)))
    report["notes"] = notes(report)
    write(run_dir, report)
    print_facts(console, report)
    if selftest:
        output = StringIO()
        with tempfile.TemporaryDirectory() as folder:
            for stage in run_stages(Path(folder), output):
                report["selftest"].append(scrub(stage))
                console.print(stage_line(report["selftest"][-1]))
        (run_dir / LOG).write_text(scrub(output.getvalue()), encoding="utf-8")
        write(run_dir, report)
    print_notes(console, report)
    log.info("\nwritten to %s: %s, %s", scrub(short_path(run_dir)), TEXT, JSON)
    if failed := [stage["stage"] for stage in report["selftest"] if stage["status"] == "failed"]:
        raise SomeFailed(f"self-test: {failed[0]} failed; see {short_path(run_dir / LOG)}")


def examine(run_dir: Path, folder: Path) -> Report:
    """All facts except the self-test's, as plain values; folder: for temporary videos."""
    return {
        "system": system(run_dir),
        "libraries": libraries(),
        "extras": extras(),
        "codecs": try_codecs(folder),
        "selftest": [],
        "notes": [],
    }


def write(run_dir: Path, report: Report) -> None:
    """doctor.json, and doctor.txt as the terminal shows it, without colours."""
    (run_dir / JSON).write_text(json.dumps(report, indent=2) + "\n")
    text = StringIO()
    console = TextConsole(file=text, width=TEXT_CHARS, color_system=None, force_terminal=False)
    print_facts(console, report)
    for stage in report["selftest"]:
        console.print(stage_line(stage))
    print_notes(console, report)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    (run_dir / TEXT).write_text("\n".join(lines) + "\n", encoding="utf-8")


def print_facts(console: Console, report: Report) -> None:
    """Names beside values, which wrap in a column of their own, section by section."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for section in ("system", "libraries", "codecs", "extras"):
        table.add_row(Text(section, "bold cyan"))
        for name, value in report[section].items():
            words = value if section != "codecs" else ", ".join(f"{what} {value[what]}" for what in value)
            table.add_row(Text(f"  {name}", "dim"), Text(words))
    console.print(table)


def print_notes(console: Console, report: Report) -> None:
    """What is likely to cause problems."""
    console.print(Text("\n".join(["", *(report["notes"] or ["No problem was found."])])))


def stage_line(stage: Mapping[str, Any]) -> Text:
    """A stage of the self-test with its seconds, status and error."""
    seconds = "" if stage["seconds"] is None else f"{stage['seconds']:.1f} s"
    status = (stage["status"], STYLES[stage["status"]])
    error = f"  {stage['error']}".rstrip()
    return Text.assemble(f"self-test {stage['stage']:<9}{seconds:>7}  ", status, error)


def notes(report: Report) -> list[str]:
    """What is likely to cause problems, each with what to do about it."""
    found = [f"{name} {value}: uv sync" for name, value in report["libraries"].items() if " " in value]
    if not report["libraries"]:
        found.append("this project is not installed, so its requirements cannot be checked: uv sync")
    for name, answers in report["codecs"].items():
        if answers["encode"] == "ok" != answers["deepfake"]:
            found.append(f"{name} cannot be read: {answers['deepfake']}")
    return found + report["system"].get("problems", "").splitlines()


# Machine and libraries


def system(run_dir: Path) -> dict[str, str]:
    """Versions, processor, memory, GPUs, disks and limits in words; problems, one per line, if any."""
    memory, problems = psutil.virtual_memory(), []
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    facts = {
        "deepfake": f"{deepfake.__version__}, commit {commit()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "FFmpeg": f"{av.ffmpeg_version_info} in PyAV",
        "processor": f"{processor()}, {num_cores()} of {os.cpu_count()} cores",
        "memory": f"{gigabytes(size_in_bytes('auto'))}, {gigabytes(memory.available)} free",
        "GPU": "; ".join(f"{gpu.name}, {gigabytes(gpu.total_memory)}" for gpu in gpus) or "no CUDA device",
        "CUDA of torch": torch.version.cuda or "none",
        "W&B": wandb_mode(),
    }
    if not gpus and torch.version.cuda and Path("/proc/driver/nvidia/version").is_file():
        problems.append("an NVIDIA driver, but no GPU for torch: compare its CUDA version with nvidia-smi's")
    places = {"outputs": run_dir, "temporary": Path(tempfile.gettempdir()), "shared memory": Path("/dev/shm")}
    for name, place in places.items():
        if place.is_dir():
            disk, shared = shutil.disk_usage(place), name == "shared memory"
            facts[name] = f"{gigabytes(disk.free)} free of {gigabytes(disk.total)}"
            if disk.free < (MIN_SHARED_BYTES if shared else MIN_DISK_BYTES):
                todo = "docker run --shm-size=2g, or data.num_workers=0" if shared else "make room"
                problems.append(f"{name}: {gigabytes(disk.free)} free; {todo}")
    if hasattr(psutil, "RLIMIT_NOFILE"):  # Linux
        files = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0]
        facts["open files"] = "no limit" if files < 0 else f"at most {files}"
        if 0 <= files < MIN_OPEN_FILES:
            problems.append(f"only {files} files can be open at a time: ulimit -n 4096")
    return facts | ({"problems": "\n".join(problems)} if problems else {})


def processor() -> str:
    """The model of the processor where Linux names it, else its architecture."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text(errors="replace") if path.is_file() else "")
    return found[1] if found else platform.processor() or platform.machine()


def wandb_mode() -> str:
    """Whether runs go to Weights & Biases, and whether a user is logged in; nothing is sent."""
    try:
        key = os.environ.get("WANDB_API_KEY") or netrc.netrc().authenticators("api.wandb.ai")
    except (OSError, netrc.NetrcParseError):
        key = None
    return f"{os.environ.get('WANDB_MODE', 'online')}, {'logged in' if key else 'not logged in'}"


def gigabytes(num_bytes: float) -> str:
    """Bytes in GB of 10^9."""
    return f"{num_bytes / 1e9:.1f} GB"


def libraries(project: str = PROJECT) -> dict[str, str]:
    """Each required package with its version or why that is wrong; {} if the project is not installed."""
    return {one.name: check(one) for one in requirements(project)}


def extras(project: str = PROJECT) -> dict[str, str]:
    """Each extra: ok, or what is missing and the command that adds it."""
    found = {}
    for extra in (metadata(project).get_all("Provides-Extra") or []) if is_installed(project) else []:
        missing = [f"{one.name} {check(one)}" for one in requirements(project, extra) if " " in check(one)]
        found[extra] = f"{', '.join(missing)}; uv sync --extra {extra} adds it" if missing else "ok"
    return found


def requirements(project: str, extra: str = "") -> list[Requirement]:
    """What a project requires in this environment: always, or for an extra only."""
    all_of_them = [Requirement(text) for text in requires(project) or ()] if is_installed(project) else []

    def applies(one: Requirement, extra: str) -> bool:
        return one.marker is None or one.marker.evaluate({"extra": extra})

    if not extra:
        return [one for one in all_of_them if applies(one, "")]
    return [one for one in all_of_them if applies(one, extra) and not applies(one, "")]


def check(requirement: Requirement) -> str:
    """The installed version if it suits, else a sentence without a subject."""
    if not is_installed(requirement.name):
        return "is not installed"
    found = version(requirement.name)
    fits = requirement.specifier.contains(found, prereleases=True)
    return found if fits else f"{found} is outside {requirement.specifier}"


def is_installed(name: str) -> bool:
    """Whether there is a package of that name."""
    try:
        return bool(metadata(name))
    except PackageNotFoundError:
        return False


# Codecs: a short video is written with each and read back, in a process that a decoder may crash


NUM_FRAMES, HEIGHT, WIDTH, MAX_DIFFERENCE = 8, 96, 128, 10.0  # of a pixel, out of 255
TIMEOUT_S = 60.0  # for one attempt; all of them take two seconds
CODECS = {  # container, and encoders, of which the first that is installed is used
    "H.264": ("mp4", ("libx264", "h264_videotoolbox", "libopenh264")),
    "HEVC": ("mp4", ("libx265", "hevc_videotoolbox")),
    "VP9": ("webm", ("libvpx-vp9",)),
    "AV1": ("mp4", ("libsvtav1", "libaom-av1", "librav1e")),
    "MPEG-4": ("mp4", ("mpeg4",)),
    "MJPEG": ("mov", ("mjpeg",)),
}


def try_codecs(
    folder: Path, attempt: Callable[[tuple[str, str]], str] | None = None, *, timeout_s: float = TIMEOUT_S
) -> dict[str, dict[str, str]]:
    """By codec and attempt (encode and each of READERS), "ok" or the reason in one line.

    A decoder that crashes or hangs costs a process of its own, and the other attempts go on.
    """
    attempts = [(codec, what) for codec in CODECS for what in ("encode", *READERS)]
    answers: dict[str, dict[str, str]] = {codec: {} for codec in CODECS}
    executor = Executor(num_workers=1, time_limit_s=timeout_s)
    for outcome in executor.map_unordered(attempt or partial(try_codec, folder), attempts):
        codec, what = outcome.item
        result = outcome.result
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
        compare(READERS[what](path), moving_waves())
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
    waves = [(np.sin(m / 20), np.sin(y / 15), np.cos((m + y) / 25)) for m in (x + 3 * i for i in range(8))]
    return [(127 + 90 * np.stack(wave, axis=2)).astype(np.uint8) for wave in waves]


def read_by_pyav(path: Path) -> list[np.ndarray]:
    """All frames by PyAV alone."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def read_by_decord(path: Path) -> list[np.ndarray]:
    """All frames by decord alone."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(str(path), num_threads=1)
    return [reader[index].asnumpy() for index in range(len(reader))]


def read_by_deepfake(path: Path) -> list[np.ndarray]:
    """All frames as this project reads them."""
    scanned = scan(path)
    (clip,) = read_clips(path, [np.arange(scanned.info.num_frames)], scanned=scanned)
    return list(clip.rgb)


READERS = {"PyAV": read_by_pyav, "decord": read_by_decord, "deepfake": read_by_deepfake}


# Private data


SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
MIN_SECRET_CHARS = 6  # shorter values of such variables, 1 or true, are switches


def scrub(value: Any) -> Any:
    """The value with secrets, home folder, user and host name replaced in all its texts, also in keys.

    It may consist of dicts, lists and tuples (which become lists); values that are no text stay.
    """
    rules = scrub_rules()

    def scrubbed(value: Any) -> Any:
        if isinstance(value, dict):
            return {scrubbed(name): scrubbed(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [scrubbed(inner) for inner in value]
        if isinstance(value, str):
            for pattern, replacement in rules:
                value = re.sub(pattern, replacement, value)
        return value

    return scrubbed(value)


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
    names = ((user, "<user>"), (platform.node(), "<host>"))
    # whole words: neither the "root" of data.root nor a part of a longer word
    whole = [(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", new) for name, new in names if name]
    return [*rules, *(rule for rule in whole if "localhost" not in rule[0])]


# Self-test: each command as a user would run it, on two tiny videos


FACES = ("faces.num_clips=1", "faces.clip_frames=12")
# two processes each for extraction and loading, so that what these need is tested too
LOADING = ("data.num_workers=1", "data.batch_size=4", "parallel.num_workers=2")
TRAINING = (*FACES, "trainer.max_epochs=1", "resamples=0", "data.windows_per_video=4", "data.eval_windows=4")
CHECKPOINT = "checkpoint=train/checkpoints/best.ckpt"
DATA = ("data=csv", "data.root=videos.csv", "data.store=store")


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


def run_command(task: str, *overrides: str) -> Callable[[Path], str]:
    """A stage that runs a command in the folder; it returns the output, or raises CalledProcessError."""

    def run(folder: Path) -> str:
        command = [sys.executable, str(SCRIPTS / f"{task}.py"), *overrides, f"hydra.run.dir={task}"]
        done = subprocess.run(command, cwd=folder, stdout=PIPE, stderr=STDOUT, text=True, check=True)
        return done.stdout

    return run


STAGES: dict[str, Callable[[Path], str]] = {
    "render": render,
    "extract": run_command("extract", *DATA, *FACES, "parallel.num_workers=2"),
    "train": run_command("train", *DATA, *LOADING, *TRAINING),
    "evaluate": run_command("evaluate", *DATA, *LOADING, CHECKPOINT, "split=val", "resamples=0"),
    "predict": run_command("predict", CHECKPOINT, "input=[real.mp4,fake.mp4]", "parallel.num_workers=2"),
}


def run_stages(folder: Path, output: StringIO) -> Iterator[dict[str, Any]]:
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
            said = err.output if isinstance(err, subprocess.CalledProcessError) else traceback.format_exc()
            output.write(said)
            lines = said.strip().splitlines() or [""]
            last = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
            error = f"{last} ({type(err).__name__})"
        seconds = round(time.perf_counter() - start_s, 2)
        yield {"stage": name, "status": "failed" if error else "ok", "seconds": seconds, "error": error}
