"""Recompute the numbers that no refactoring may change: python tests/golden/make.py rewrites golden.json.

Everything goes through scripts/*.py and the files that they write, so nothing in here names the inside of
the package. All commands run one after the other in one fresh process with one thread, since the number of
threads decides in which order floats are added up. Run it only when numbers are meant to change, on the
machine that is to hold them exactly, and say in the commit which changed and why.
"""

import csv
import json
import logging
import os
import platform
import re
import runpy
import subprocess
import sys
from collections.abc import Iterable, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

GOLDEN = Path(__file__).with_name("golden.json")
ROOT = Path(__file__).parents[2]
FFPP = ROOT.parent / "shared" / "videos" / "ffpp"
MESO4 = ROOT.parent / "shared" / "weights" / "mesonet" / "Meso4_DF.h5"

SAME_VERSIONS = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "av",
    "decord",
    "simplejpeg",
)
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "agg",
}
HERE = "parallel.num_workers=0 parallel.device=cpu".split()  # in this process, on the CPU
TRAIN = "trainer=cpu data.num_workers=0 data.batch_size=4 data.eval_windows=2 resamples=200".split()
TWO_EPOCHS = "trainer.max_epochs=2 data.windows_per_video=5".split()  # 8 videos make 10 steps an epoch
ONE_EPOCH = "trainer.max_epochs=1 data.windows_per_video=10".split()  # … and 20 here
MODELS = {
    "meso": ["model=meso", *TWO_EPOCHS],
    "meso_lstm": ["model=meso_lstm", "model.window=4", *TWO_EPOCHS],
    "efficientnet": ["model=efficientnet", "model.image_size=64", *ONE_EPOCH],
    "efficientnet_lstm": ["model=efficientnet_lstm", "model.image_size=64", "model.window=2", *ONE_EPOCH],
}
MEASURED = ("meso", "meso_lstm")
"""Those whose metrics.json and predictions.csv are kept too."""
FACES_OTHER = (
    "faces.num_clips=2 faces.clip_frames=4 faces.detect_every=1 faces.smooth_frames=1 faces.margin=1.3 "
    "faces.short_side_px=240 faces.max_crop_px=160 faces.jpeg_quality=90"
).split()
FACES_FILMS = "faces=full faces.clip_frames=16 faces.detect_every=4 faces.min_face_px=30".split()
FACES_FFPP = "faces.num_clips=3 faces.at_key_frames=true".split()


def fingerprint() -> dict[str, str]:
    """What decides the last bits of floats: CPU, the instructions that torch uses, versions of libraries."""
    import torch

    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else platform.processor()
    told = {name: re.search(rf"^{name}\s*:\s*(.*)$", cpu, re.M) for name in ("model name", "flags")}
    model, flags = (found[1] if found else "" for found in told.values())
    return {
        "machine": platform.machine(),
        "cpu": model,
        "flags": sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:16],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in SAME_VERSIONS},
    }


def compute() -> dict[str, Any]:
    """All numbers as they are now, made in a process of their own; raises RuntimeError with what it said."""
    with TemporaryDirectory(prefix="golden") as folder:
        command = [sys.executable, __file__, "--into", folder]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        env = {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
        return json.loads((Path(folder) / "numbers.json").read_text())


def compute_here(folder: Path) -> dict[str, Any]:
    """The same in this process, which the commands may leave changed."""
    demo = [f"data.root={folder}/demo", "data.num_identities=6"]
    numbers: dict[str, Any] = {"fingerprint": fingerprint()}
    for name in ("losses", "metrics", "predictions", "stores", "judged"):
        numbers[name] = {}
    for name, model in MODELS.items():
        run = folder / name
        command("train", run, *demo, f"data.store={folder}/stores/demo", *TRAIN, *model)
        numbers["losses"][name] = losses(run)
        if name in MEASURED:
            numbers["metrics"][name] = json.loads((run / "metrics.json").read_text())
            numbers["predictions"][name] = rows(run / "predictions.csv")

    other = [f"data.root={folder}/demo_other", "data.num_identities=6"]
    extract("demo_other", folder, *other, *FACES_OTHER)
    write_films(folder / "demo", folder / "films")
    extract("folder", folder, f"data.root={folder}/films", "data.main_face=size", *FACES_FILMS)
    there = FFPP.is_dir() and MESO4.is_file()
    if there:
        methods = "data.methods=[Deepfakes,Face2Face]"
        extract("ffpp", folder, f"data.root={FFPP}", methods, "data.main_face=partner", *FACES_FFPP)
    for store in sorted((folder / "stores").iterdir()):
        numbers["stores"][store.name] = store_numbers(store)

    checkpoint = f"checkpoint={folder}/meso_lstm/checkpoints/best.ckpt"
    films = f"input={folder}/films"
    numbers["judged"]["films"] = judge(folder, "films", films, checkpoint, "faces.num_clips=4")
    if there:
        ours = ("model=meso", f"weights={MESO4}", "faces.num_clips=4")
        numbers["judged"]["ffpp"] = judge(folder, "ffpp", f"input={FFPP}", *ours)
    return numbers


def command(task: str, run_dir: Path, *overrides: str) -> None:
    """Run `python scripts/TASK.py OVERRIDES…` in this process; raises RuntimeError where it fails."""
    sys.argv = [f"{task}.py", *overrides, *HERE, f"hydra.run.dir={run_dir}"]
    try:
        runpy.run_path(str(ROOT / "scripts" / f"{task}.py"), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{' '.join(sys.argv)} ended with {end.code}") from end
    logging.shutdown()


def extract(data: str, folder: Path, *overrides: str) -> None:
    """Fill the store of a corpus, stores/DATA."""
    store = f"data.store={folder}/stores/{data}"
    command("extract", folder / f"extract_{data}", f"data={data}", store, *overrides)


def judge(folder: Path, name: str, *overrides: str) -> dict[str, Any]:
    """What prediction says of files: a row a file by its stem, and a hash of all windows' columns."""
    import pyarrow.parquet as pq

    run = folder / f"predict_{name}"
    command("predict", run, "pages=false", *overrides)
    judged = {Path(row.pop("file")).stem: row for row in rows(run / "predictions.csv")}
    windows = pq.read_table(run / "windows.parquet").drop_columns(["file"])
    columns = {column: hash_of(rounded(windows[column].to_pylist())) for column in windows.column_names}
    return {"files": judged, "windows": windows.num_rows, "columns": columns}


def losses(run: Path) -> list[float]:
    """The loss of every training step."""
    (log,) = run.glob("logs/version_*/metrics.csv")
    return [value for row in rows(log) if (value := row["train/loss_step"]) is not None]


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, numbers as numbers and nothing as None."""
    with path.open(newline="") as file:
        return [{name: value_of(value) for name, value in row.items()} for row in csv.DictReader(file)]


def value_of(text: str) -> int | float | str | None:
    """What a cell of a CSV file says."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


def store_numbers(store: Path) -> dict[str, Any]:
    """Of each video its counts and its means of boxes and the like and of pixels; hashes of all columns.

    Videos are in the order of their names. Pixels are those that the stored JPEG files decode to.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {}
    videos: dict[str, Any] = {}
    for path in sorted((store / "faces").rglob("*.arrow")):
        faces = pa.ipc.open_file(path).read_all().to_pydict()
        jpegs = faces.pop("jpeg")
        pixels = [decoded(jpeg) for jpeg in jpegs]
        faces["jpeg"] = [sha256(jpeg).hexdigest() for jpeg in jpegs]
        faces["pixels"] = [f"{crop.shape} {sha256(crop.tobytes()).hexdigest()}" for crop in pixels]
        for name, values in faces.items():
            columns.setdefault(name, []).extend(values)
        means = {name: mean_of(faces[name]) for name in ("box", "landmarks", "score", "square")}
        means["pixels"] = mean_of(crop.reshape(-1, 3).mean(0).tolist() for crop in pixels)
        means["contrast"] = mean_of([float(crop.std())] for crop in pixels)
        key = path.relative_to(store / "faces").with_suffix("").as_posix()
        videos[key] = {"crops": len(pixels), **means}
    manifest = pq.read_table(store / "manifest.parquet").drop_columns(["path"])
    listed = sorted(manifest.to_pylist(), key=lambda row: row["video"])
    hashes = {name: hash_of(row[name] for row in listed) for name in manifest.column_names}
    return {
        "videos": videos,
        "columns": {name: hash_of(values) for name, values in columns.items()},
        "manifest": hashes,
    }


def decoded(jpeg: bytes) -> Any:
    """The pixels of a JPEG file, (H, W, 3) uint8."""
    import simplejpeg

    return simplejpeg.decode_jpeg(jpeg, fastdct=False, fastupsample=False)


def mean_of(values: Iterable[float | Sequence[float]]) -> list[float]:
    """The mean of numbers, or of each place of lists of numbers, to three digits."""
    import numpy as np

    found = list(values)
    mean = np.atleast_1d(np.mean(found, axis=0, dtype=np.float64)) if found else np.zeros(0)
    return [round(float(value), 3) for value in mean]


def rounded(values: list[Any]) -> list[Any]:
    """Floats to 1e-6: which windows a logit is computed with may move its last bits."""
    return [round(value, 6) if isinstance(value, float) else value for value in values]


def hash_of(values: Iterable[Any]) -> str:
    """The first digits of a hash of values, whose floats count to the last bit."""
    return sha256(json.dumps(list(values), sort_keys=True).encode()).hexdigest()[:16]


def write_films(demo: Path, folder: Path) -> None:
    """A folder corpus of three films: two heads side by side, a cut from one to another, and a fake.

    Demo videos show one head each; these have people to be told apart.
    """
    import numpy as np

    one, other, third = (frames_of(demo / "real" / f"id{who}_0.mp4") for who in ("00", "01", "02"))
    low = min(frame.shape[0] for frame in (one[0], other[0]))
    beside = [np.hstack([a[:low], b[:low]]) for a, b in zip(one, other, strict=False)]
    height, width = (min(one[0].shape[i], third[0].shape[i]) for i in (0, 1))
    cut = [frame[:height, :width] for frame in (*one[:20], *third[:20])]
    write_film(folder / "real" / "beside.mp4", beside[:24])
    write_film(folder / "real" / "cut.mp4", cut)
    write_film(folder / "fake" / "swap" / "id00_id01.mp4", frames_of(demo / "swap" / "id00_id01_0.mp4")[:24])


def frames_of(path: Path) -> list[Any]:
    """All frames of a video, (H, W, 3) uint8."""
    import av

    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def write_film(path: Path, frames: Sequence[Any]) -> None:
    """Frames as a video that every machine encodes alike, of even height and width."""
    import av
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"crf": "18", "threads": "1", "x264-params": "cpu-independent=1"}
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = (side // 2 * 2 for side in frames[0].shape[:2])
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            whole = np.ascontiguousarray(frame[: stream.height, : stream.width])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(whole, format="rgb24")))
        file.mux(stream.encode())


def told(value: Any, depth: int = 0) -> str:
    """Numbers as JSON with a line for each name of the first four levels."""
    if not isinstance(value, dict) or depth == 4 or not value:
        return json.dumps(value)
    inside = (
        f"{' ' * (depth + 1)}{json.dumps(name)}: {told(part, depth + 1)}" for name, part in value.items()
    )
    return "{\n" + ",\n".join(inside) + "\n" + " " * depth + "}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--into"]:
        into = Path(sys.argv[2])
        (into / "numbers.json").write_text(json.dumps(compute_here(into)))
    else:
        GOLDEN.write_text(told(compute()) + "\n")
