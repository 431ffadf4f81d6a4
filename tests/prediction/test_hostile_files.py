"""Decoders that crash, hang or eat memory on a file: one row each, in the order and words of prediction."""

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import pytest

from deepfake.parallel.pool import Executor
from deepfake.prediction import predictor as files
from deepfake.prediction.detector import LoadedDetector
from deepfake.prediction.inputs import collect
from deepfake.prediction.predictor import FileRead, read_file


def read_with_a_bad_decoder(path: Path, **how: Any) -> FileRead:
    """In a worker: what the file is called befalls its reader."""
    match path.stem:
        case "crash":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "hang":
            time.sleep(1000)
        case "bomb":
            eaten = []
            while True:
                eaten.append(bytearray(b"x") * (16 << 20))
                time.sleep(0.01)
    return read_file(path, **how)


@pytest.mark.parametrize("alone", [False, True])
def test_what_a_file_does_to_its_decoder_costs_that_file_alone(
    detector: LoadedDetector,
    quick_video: Path,
    tmp_path: Path,
    *,
    alone: bool,
) -> None:
    (tmp_path / "faces").mkdir()
    names = ["crash"] if alone else ["abort", "bomb", "good", "hang"]
    for name in names:
        (tmp_path / f"{name}.mp4").write_bytes(quick_video.read_bytes())
    guarded = Executor(num_workers=1, time_limit_s=15, memory_limit="1500MB")
    done = files.predict_files(
        detector,
        collect(str(tmp_path)),
        guarded,
        device="cpu",
        folder=tmp_path / "faces",
        read=read_with_a_bad_decoder,
    )
    found = {Path(judged.prediction.file).stem: judged.prediction for judged in done}
    assert list(found) == names
    reasons = {name: prediction.reason.partition(":")[0] for name, prediction in found.items()}
    kinds = {"bomb": "MemoryLimitReached", "hang": "TimeLimitReached", "good": ""}
    assert reasons == {name: kinds.get(name, "WorkerDied") for name in names}
    for name, prediction in found.items():
        assert (prediction.status, prediction.verdict == "undetermined") == (
            ("ok", False) if name == "good" else ("error", True)
        )
