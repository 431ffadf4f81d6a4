"""Predictions for videos of several people, and for one without a face."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from extracted import extracted_faces
from multi_person_scenes import SceneVideo, kept_tracks
from omegaconf import DictConfig

import deepfake
from deepfake.data.windows import EvalSettings
from deepfake.parallel.pool import Executor
from deepfake.prediction.detector import LoadedDetector, choose_crops
from deepfake.prediction.inputs import collect
from deepfake.prediction.predictor import predict_files, predict_video
from deepfake.tasks.build import choose_detector

SceneVideos = Callable[[str], SceneVideo]
Composed = Callable[..., DictConfig]
LOOKS = ("quick", "default", "full")


def looking(composed: Composed, checkpoint: Path, how: str) -> LoadedDetector:
    """The detector of a checkpoint with faces=how, or with so many clips."""
    faces = f"faces.num_clips={how}" if how.isdecimal() else f"faces={how}"
    return choose_detector(composed("predict", "input=x", f"checkpoint='{checkpoint}'", faces), device="cpu")


@pytest.mark.parametrize("how", LOOKS)
def test_where_nobody_is_there_is_no_verdict_but_a_reason(
    composed: Composed, scene_video: SceneVideos, quick_checkpoint: Path, how: str
) -> None:
    found = deepfake.predict_video(scene_video("empty_room").path, looking(composed, quick_checkpoint, how))
    assert (found.status, found.verdict, found.prob) == ("ok", "undetermined", None)
    assert found.reason == f"no face found in {found.sampled_frames} sampled frames"


def test_every_frame_is_scored_and_nothing_is_left_behind(
    composed: Composed, scene_video: SceneVideos, quick_checkpoint: Path, tmp_path: Path
) -> None:
    files = collect(str(scene_video("cut_between_rooms").path))
    detector = looking(composed, quick_checkpoint, "full")
    (judged,) = predict_files(detector, files, Executor(num_workers=0), device="cpu", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert judged.faces.table.num_rows == len(judged.faces.column("frame"))
    assert judged.prediction == replace(
        predict_video(files[0].path, detector), file=files[0].name, about=judged.prediction.about
    )


def test_a_detector_that_looks_elsewhere_does_another_job(quick_checkpoint: Path) -> None:
    detector = deepfake.load_detector(quick_checkpoint, device="cpu")
    whole = deepfake.load_detector(quick_checkpoint, device="cpu", faces={"num_clips": "all"})
    assert whole.checkpoint.faces == replace(detector.checkpoint.faces, num_clips=None)
    assert whole.checkpoint.evaluation == EvalSettings(max_windows=None, hop=1)
    as_trained = deepfake.load_detector(quick_checkpoint, device="cpu", faces={"num_clips": None})
    assert as_trained.job == detector.job != whole.job


@pytest.mark.parametrize(
    ("own", "most", "num_clips", "scored"),
    [(16, 32, 4, 8), (16, 30, 4, 8), (16, 8, 4, 4), (16, 2, 4, 2), (4, 12, 4, 12), (4, 12, 8, 12)],
)
def test_of_fewer_clips_windows_are_scored_as_densely_as_in_validation(
    quick_checkpoint: Path, own: int, most: int, num_clips: int, scored: int
) -> None:
    detector = deepfake.load_detector(quick_checkpoint, device="cpu")
    trained = replace(
        detector.checkpoint,
        faces=replace(detector.checkpoint.faces, num_clips=own),
        evaluation=EvalSettings(max_windows=most),
    )
    chosen = choose_crops(trained, detector.detector.input, {"num_clips": num_clips})
    assert chosen.evaluation == EvalSettings(max_windows=scored)


@pytest.fixture(scope="module")
def demo_checkpoint(composed: Composed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best checkpoint of the default run."""
    from deepfake.tasks import train

    folder = tmp_path_factory.mktemp("default")
    places = (f"data.root={folder / 'videos'}", f"data.store={folder / 'store'}")
    train.main(composed("train", *places, "trainer=cpu"), folder)
    return folder / "checkpoints" / "best.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("side_by_side", "default"),
        # by default the checkpoint's two clips, 3 s apart: who has changed places meanwhile is a stranger
        ("crossing", "8"),
        *product(("side_by_side", "crossing"), ("quick", "full")),
    ],
)
def test_of_two_people_the_fake_one_is_the_more_suspicious_and_the_file_is_fake(
    composed: Composed, scene_video: SceneVideos, demo_checkpoint: Path, name: str, how: str
) -> None:
    video = scene_video(name)
    detector = looking(composed, demo_checkpoint, how)
    found = deepfake.predict_video(video.path, detector)
    fake, real = kept_tracks(extracted_faces(video.path, detector.checkpoint.faces), video)
    assert min(fake.share, real.share) >= 0.95
    prob = {track.track: track.prob for track in found.tracks}
    assert prob[fake.track] > prob[real.track]
    assert found.verdict == "fake"
