from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extracted import extracted_faces
from omegaconf import DictConfig
from PIL import Image
from talkies import audio_packets, talkie
from torch import Tensor

from deepfake.data.crops import centre_of, to_tensor, window_crops
from deepfake.errors import DecodeError, SomeFailed, UserError
from deepfake.faces.video_faces import decode_jpeg
from deepfake.prediction import outputs as artifacts
from deepfake.prediction.detector import LoadedDetector
from deepfake.prediction.explain import with_heat
from deepfake.prediction.predictor import predict_video
from deepfake.reports.predictions import ModelFacts, page_name
from deepfake.tasks import predict
from deepfake.video.probe import scan
from deepfake.video.write import write_timed_video

TIMES_MS = (40 + np.cumsum(np.random.default_rng(0).integers(20, 60, 12))).tolist()
Run = Callable[..., Path]


@pytest.fixture
def spoken(face: np.ndarray, tmp_path: Path) -> Path:
    """A film of a face that moves, at uneven times, with sound; its name wants quoting."""
    source = tmp_path / "a film & more.mp4"
    frames = ((time_ms, np.roll(face, 2 * index, axis=1)) for index, time_ms in enumerate(TIMES_MS))
    voice = talkie(tmp_path / "voice.mp4", times_ms=TIMES_MS)
    write_timed_video(source, frames, time_base=Fraction(1, 1000), rate=Fraction(25), sound=voice)
    return source


@pytest.fixture
def run(composed: Callable[..., DictConfig], quick_checkpoint: Path, tmp_path: Path) -> Run:
    """Run the task: run(files …, overrides …)."""

    def start(*files: Path, more: tuple[str, ...] = ()) -> Path:
        cfg = composed(
            "predict", f"checkpoint='{quick_checkpoint}'", "input=[]", "parallel.num_workers=0", *more
        )
        cfg.input = [str(file) for file in files]
        run_dir = tmp_path / "run"
        run_dir.mkdir(exist_ok=True)
        predict.main(cfg, run_dir)
        return run_dir

    return start


def test_a_run_leaves_a_page_with_heat_maps_and_an_annotated_copy_of_each_file(
    run: Run, spoken: Path, look: Callable[..., Any]
) -> None:
    run_dir = run(spoken, more=("annotate=true", "explain=true"))
    name = page_name(str(spoken))
    page, copy = (run_dir / "files" / f"{name}{suffix}" for suffix in (".html", "_annotated.mp4"))
    assert sorted((run_dir / "files").iterdir()) == sorted([page, copy])
    before, after = scan(spoken), scan(copy)
    assert after.info.num_frames == before.info.num_frames == 12
    assert after.time_s == pytest.approx(before.time_s, abs=1e-6)
    assert [data for _, data in audio_packets(copy)] == [data for _, data in audio_packets(spoken)]
    text = page.read_text()
    assert 'alt="heat map"' in text
    assert f'href="{copy.name}"' in text
    assert 'href="../report.html"' in text
    assert f'href="files/{page.name}"' in (run_dir / "report.html").read_text()
    for opened in (page, run_dir / "report.html"):
        for width in (1280, 400):
            seen = look(opened, width=width)
            assert (seen.errors, seen.requests, seen.too_wide_px) == ([], [], 0)


def test_without_a_wish_there_are_pages_alone_and_none_if_not_wanted(run: Run, spoken: Path) -> None:
    run_dir = run(spoken)
    (page,) = (run_dir / "files").iterdir()
    assert page.suffix == ".html"
    assert "heat map" not in page.read_text()
    page.unlink()
    run(spoken, more=("pages=false",))
    assert list((run_dir / "files").iterdir()) == []
    assert "href" not in (run_dir / "report.html").read_text()


def test_files_that_cannot_be_read_have_a_row_and_no_page(run: Run, spoken: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    with pytest.raises(SomeFailed):
        run(bad, spoken, more=("annotate=true",))
    assert sorted(path.suffix for path in (tmp_path / "run" / "files").iterdir()) == [".html", ".mp4"]
    assert (tmp_path / "run" / "report.html").read_text().count("<article") == 2


def test_a_copy_that_breaks_is_warned_of_and_the_page_written(
    run: Run, spoken: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*args: Any, **more: Any) -> Path:
        raise DecodeError("film.mp4: decoding broke at frame 7 of 12")

    monkeypatch.setattr("deepfake.reports.annotate.write_annotated", breaks)
    run_dir = run(spoken, more=("annotate=true",))
    assert "no annotated copy: film.mp4: decoding broke at frame 7 of 12" in caplog.text
    (page,) = (run_dir / "files").iterdir()
    assert "annotated copy" not in page.read_text()


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ({"explain": "magic"}, "explain=magic: must be false or one of true, occlusion"),
        ({"explain": True, "pages": False}, "pages=true"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused_at_once(
    tmp_path: Path, wish: dict[str, Any], text: str
) -> None:
    model = ModelFacts(checkpoint="", threshold=0.5, threshold_origin="")
    with pytest.raises(UserError, match=text):
        artifacts.FileOutputs(tmp_path, model, **wish)


def test_heat_lies_on_the_part_of_the_face_that_the_detector_saw_in_that_frame(
    detector: LoadedDetector, spoken: Path
) -> None:
    faces = extracted_faces(spoken, detector.checkpoint.faces)
    prediction, seen = predict_video(spoken, detector), []

    def hot(_: object, crops: Tensor) -> Tensor:
        seen.append(crops)
        return torch.ones(*crops.shape[:2], *crops.shape[3:])

    heated = with_heat(prediction, detector.detector, faces, heat_maps=hot)
    assert heated.to_dict() == prediction.to_dict()
    assert heated.least_suspicious == prediction.least_suspicious
    for shot, crops in zip(heated.suspicious, seen, strict=True):
        row = faces.column("frame").tolist().index(shot.frame)
        assert torch.equal(crops[0], to_tensor(window_crops(faces, [row], detector.detector.input)))
        shown, plain = decode_jpeg(shot.heat), decode_jpeg(shot.jpeg)
        assert shown.shape == plain.shape
        start, side = centre_of(len(plain), detector.detector.input, faces.settings.margin)
        coloured = shown.std(axis=2) > 12  # inferno's hottest colour is yellow
        inside = np.zeros_like(coloured)
        inside[start + 2 : start + side - 2, start + 2 : start + side - 2] = True
        assert coloured[inside].mean() > 0.99
        assert coloured[: start - 4].mean() < 0.01


def test_an_image_has_its_page_and_its_copy(run: Run, face: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(face).save(tmp_path / "face.png")
    run_dir = run(tmp_path / "face.png", more=("annotate=true", "explain=occlusion"))
    assert sorted(path.suffix for path in (run_dir / "files").iterdir()) == [".html", ".jpg"]
