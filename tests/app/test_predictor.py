"""What the app's worker process does, here in this one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from extracted import extracted_faces
from omegaconf import DictConfig

from deepfake.app import jobs
from deepfake.app.jobs import Task, UploadPredictor
from deepfake.app.uploads import Limits
from deepfake.errors import DecodeError, UserError
from deepfake.prediction.detector import load_detector
from deepfake.prediction.predictor import predict_faces
from deepfake.reports.predictions import ModelFacts
from deepfake.tasks.app import make_predictor
from deepfake.video.write import write_video

LIMITS = Limits(max_seconds=60, max_pixels=10**6)


def silent(stage: str, share: float | None) -> None:
    pass


@pytest.fixture(scope="module")
def made(trained: Path) -> UploadPredictor:
    detector = load_detector(trained / "checkpoints" / "best.ckpt", device="cpu")
    about = ModelFacts(
        checkpoint="best.ckpt", threshold=detector.checkpoint.decision.cut, threshold_origin="fitted"
    )
    return UploadPredictor(detector=detector, about=about, limits=LIMITS, explain=True, report=silent)


@pytest.fixture(scope="module")
def video(tiny_demo: tuple[str, ...]) -> Path:
    return min(Path(tiny_demo[0].partition("=")[2]).rglob("*.mp4"))


def task(folder: Path, source: Path, label: str = "film.mov") -> Task:
    upload = folder / f"upload{source.suffix}"
    shutil.copy(source, upload)
    return Task(upload=upload, folder=folder, label=label)


def test_an_answer_is_the_direct_prediction_with_all_its_files(
    made: UploadPredictor, video: Path, tmp_path: Path
) -> None:
    told: list[tuple[str, float | None]] = []
    made = replace(made, report=lambda *step: told.append(step))
    found = made(task(tmp_path, video))
    detector = made.detector
    faces = extracted_faces(video, detector.checkpoint.faces)
    direct = predict_faces(detector.detector, detector.checkpoint, "film.mov", faces).to_dict()
    about = found["prediction"].pop("about")
    assert direct.pop("about").items() <= about.items()
    assert about["bytes"] == video.stat().st_size
    assert found["prediction"] == direct
    assert set(found["files"]) == {path.name for path in tmp_path.iterdir()} - {"upload.mp4"}
    assert len(found["files"]) == len(set(found["files"]))
    sides = [(face["side"], bool(face["heat"])) for face in found["faces"]]
    shots = min(4, len(direct["tracks"][0]["windows"]))
    assert sides == [("suspicious", True)] * shots + [("innocent", False)] * shots
    assert (found["annotated"], found["note"]) == ("annotated.mp4", "")
    assert found["portraits"] == {0: "person_0.jpg"}
    saved = json.loads((tmp_path / "prediction.json").read_text())
    assert saved["prob"] == direct["prob"]
    stages = dict.fromkeys(stage for stage, _ in told)
    assert list(stages) == [
        "reading",
        "looking for faces",
        "scoring",
        "drawing heat maps",
        "drawing the video",
    ]
    shares = [share for stage, share in told if stage == "looking for faces"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_file_of_faces_is_deleted(made: UploadPredictor, video: Path, tmp_path: Path) -> None:
    found = replace(made, annotate=False, explain=False)(task(tmp_path, video))
    assert set(found["files"]) == {path.name for path in tmp_path.iterdir()} - {"upload.mp4"}


def test_how_much_is_looked_at_is_chosen_as_in_prediction(
    composed: Callable[..., DictConfig], trained: Path
) -> None:
    checkpoint = f"checkpoint='{trained}/checkpoints/best.ckpt'"
    cfg = composed("app", checkpoint, "faces=full", "threshold=0.7", "device=cpu")
    predictor = make_predictor(cfg)
    about = predictor(None)
    assert predictor.detector.checkpoint.faces.num_clips is None
    assert (about.threshold, about.threshold_origin) == (0.7, "given on the command line")


def test_a_picture_is_answered_with_a_picture(made: UploadPredictor, video: Path, tmp_path: Path) -> None:
    with av.open(str(video)) as file:
        next(file.decode(video=0)).to_image().save(tmp_path / "still.png")
    found = made(task(tmp_path, tmp_path / "still.png", "still.png"))
    assert found["annotated"] == "annotated.jpg"
    assert found["seconds"] == 0
    assert found["prediction"]["sampled_frames"] == len(found["prediction"]["tracks"]) == 1


def test_a_film_without_a_face_is_undetermined(made: UploadPredictor, film: bytes, tmp_path: Path) -> None:
    (tmp_path / "upload.mp4").write_bytes(film)
    found = made(Task(upload=tmp_path / "upload.mp4", folder=tmp_path, label="grey.mp4"))
    assert (found["prediction"]["verdict"], found["prediction"]["prob"]) == ("undetermined", None)
    assert found["faces"] == []
    assert set(found["files"]) == {"prediction.json", "report.html"}


def test_a_copy_that_cannot_be_drawn_costs_only_the_copy(
    made: UploadPredictor, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, name: str, source: Path, *_: Any, **__: Any) -> Path:
        raise DecodeError(f"{source}: frame 7 of 9 cannot be read")

    monkeypatch.setattr(jobs, "write_annotated", fail)
    found = made(task(tmp_path, video))
    assert found["annotated"] == ""
    assert found["note"] == "the annotated video could not be drawn: frame 7 of 9 cannot be read"
    assert found["prediction"]["prob"] is not None


def test_an_error_has_the_users_name_of_the_file_and_not_ours(made: UploadPredictor, tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    write_video(long, [np.full((48, 64, 3), 90, np.uint8)] * 61, fps=1)
    with pytest.raises(UserError, match=r"^film\.mov: it is 61 s long") as caught:
        made(task(tmp_path, long))
    assert str(tmp_path) not in str(caught.value)
