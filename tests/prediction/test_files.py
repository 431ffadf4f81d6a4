import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import deepfake
from deepfake.data.windows import EvalSettings
from deepfake.errors import DecodeError, UserError
from deepfake.faces.extract import Extracted, extract_faces
from deepfake.parallel.pool import Executor
from deepfake.prediction.detector import LoadedDetector
from deepfake.prediction.inputs import collect
from deepfake.prediction.predictor import predict_files, read_file
from deepfake.scoring.prediction import Prediction


@pytest.fixture
def picture(tmp_path: Path, face: np.ndarray) -> Path:
    path = tmp_path / "face.png"
    Image.fromarray(face).save(path)
    return path


def test_the_library_says_what_the_command_says(
    quick_checkpoint: Path, picture: Path, tmp_path: Path
) -> None:
    detector = deepfake.load_detector(str(quick_checkpoint), device="cpu")
    (by_command,) = predict_files(
        detector, collect(str(picture)), Executor(num_workers=0), device="cpu", folder=tmp_path
    )
    found = deepfake.predict_video(str(picture), detector)
    assert isinstance(found, deepfake.Prediction)
    assert found == by_command.prediction
    assert found.verdict in ("fake", "real")
    assert 0 < found.prob < 1
    assert found.suspicious[0].jpeg


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = (
        "import sys, deepfake\n"
        "assert not {'torch', 'cv2', 'deepfake.prediction'} & set(sys.modules)\n"
        "try:\n    deepfake.no_such_name\nexcept AttributeError:\n    print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert deepfake.LoadedDetector is LoadedDetector


def test_a_file_that_is_not_there_or_no_video_is_an_error_that_names_it(
    detector: LoadedDetector, quick_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"none\.mp4: no such file"):
        deepfake.predict_video(tmp_path / "none.mp4", detector)
    with pytest.raises(DecodeError, match=r"tiny\.ckpt: not a readable video"):
        deepfake.predict_video(quick_checkpoint, detector)
    with pytest.raises(UserError, match=r"none\.ckpt: no such file"):
        deepfake.load_detector(tmp_path / "none.ckpt")


def test_the_hash_is_that_of_sha256sum(detector: LoadedDetector, picture: Path) -> None:
    about = deepfake.predict_video(picture, detector).about
    printed = subprocess.run(["sha256sum", picture], capture_output=True, text=True, check=True).stdout
    assert about["sha256"] == printed.split()[0]
    assert about["bytes"] == picture.stat().st_size
    os.utime(picture, ns=(0, 1_700_000_000_123_456_000))
    about = deepfake.predict_video(picture, detector).about
    assert about["modified"] == "2023-11-14T22:13:20.123456+00:00"


def test_a_file_that_changes_while_it_is_read_is_not_scored(
    detector: LoadedDetector, picture: Path, tmp_path: Path
) -> None:
    def slow(path: Path, into: Path, **values: Any) -> Extracted:
        found = extract_faces(path, into, **values)
        path.write_bytes(path.read_bytes() + b"more")
        return found

    folder = tmp_path / "faces"
    folder.mkdir()
    files, read = collect(str(picture)), partial(read_file, extract=slow)
    (done,) = predict_files(detector, files, Executor(num_workers=0), device="cpu", folder=folder, read=read)
    assert done.faces is None
    assert list(folder.iterdir()) == []
    assert done.prediction.reason == f"{picture}: it changed while it was read"


def test_what_nobody_foresaw_costs_one_file_and_a_wrong_setting_ends_the_run(
    detector: LoadedDetector, picture: Path, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    def first() -> Prediction:
        read = partial(read_file, extract=broken)
        done = predict_files(
            detector, files, Executor(num_workers=0), device="cpu", folder=tmp_path, read=read
        )
        return next(done).prediction

    files = collect(str(picture))
    error: Exception = ZeroDivisionError("the decoder's fault")
    assert first().reason == "ZeroDivisionError: the decoder's fault"
    error = UserError("parallel.device=cuda: no CUDA device found")
    with pytest.raises(UserError, match="no CUDA device"):
        first()


def test_fingerprints_tell_weights_and_preprocessing_apart(
    detector: LoadedDetector, make_checkpoint: Callable[..., Path]
) -> None:
    def prints(other: LoadedDetector) -> tuple[bool, bool, bool]:
        return (
            other.fingerprint == detector.fingerprint,
            other.preprocessing_fingerprint == detector.preprocessing_fingerprint,
            other.job == detector.job,
        )

    again = deepfake.load_detector(make_checkpoint(threshold=0.4, threshold_rule="eer"))
    assert prints(again) == (True, True, True)
    assert again.sha256 != detector.sha256  # it has no protocol in it
    other_weights = deepfake.load_detector(make_checkpoint(seed=1, threshold=0.4))
    assert prints(other_weights) == (False, True, False)
    fewer = replace(again, checkpoint=replace(again.checkpoint, evaluation=EvalSettings(max_windows=3)))
    assert prints(fewer) == (True, False, False)
    stricter = again.with_decision(replace(again.checkpoint.decision, threshold=0.9))
    assert prints(stricter) == (True, True, False)
    turned = deepfake.load_detector(make_checkpoint(threshold=0.4), device="cpu")
    with torch.no_grad():
        turned.detector.head.linear.bias[0] += 1e-6  # type: ignore[union-attr, index, operator]
    assert prints(turned) == (False, True, False)
