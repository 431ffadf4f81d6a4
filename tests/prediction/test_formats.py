"""Every kind of file that PyAV or Pillow can write here: scored, or refused with one row."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from films import film, sound
from PIL import Image

from deepfake.parallel.pool import Executor
from deepfake.prediction.detector import LoadedDetector
from deepfake.prediction.inputs import collect
from deepfake.prediction.predictor import predict_files
from deepfake.scoring.prediction import Prediction
from deepfake.video.decode import IMAGE_SUFFIXES

NUM_FRAMES = 10
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"bf": "2"}),
    "hevc": ("libx265", {"x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", {"preset": "12"}),
    "mpeg4": ("mpeg4", {}),
    "mjpeg": ("mjpeg", {}),
}
CONTAINERS = {  # what each may hold, as far as FFmpeg writes it; and a codec of sound
    "mp4": ("h264 hevc vp9 av1 mpeg4 mjpeg", "aac"),
    "mov": ("h264 hevc mpeg4 mjpeg", "aac"),
    "mkv": ("h264 hevc vp9 av1 mpeg4 mjpeg", "aac"),
    "webm": ("vp9 av1", "libopus"),
    "avi": ("h264 vp9 av1 mpeg4 mjpeg", "libmp3lame"),
}
NAMES = {"mp4": "mov", "mov": "mov", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
TIMES_MS = [0, 40, 60, 200, 220, 360, 400, 500, 640, 700]
BOX_PX = 6  # by how much a codec may move a box
BOTH = [(suffix, codec) for suffix, (codecs, _) in CONTAINERS.items() for codec in codecs.split()]
USUAL = {"mp4": "h264", "mov": "h264", "mkv": "h264", "webm": "vp9", "avi": "mpeg4"}
ROTATING = ("mp4", "mov", "mkv", "webm")  # AVI has no place to say it, nor times


EXIF: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # what is stored to be shown upright
    3: lambda shown: np.rot90(shown, 2),
    6: lambda shown: np.rot90(shown, 1),
    8: lambda shown: np.rot90(shown, -1),
    2: lambda shown: shown[:, ::-1],
}


@dataclass(frozen=True)
class Scored:
    """face: the picture that all files show. upright: what is said of it as a PNG."""

    detector: LoadedDetector
    face: np.ndarray
    upright: Prediction

    def film(self, path: Path, codec: str, **more: Any) -> Path:
        """A film of NUM_FRAMES that shows the face, by one of CODECS."""
        encoder, options = CODECS[codec]
        return film(
            path, encoder, **{"show": lambda _: self.face} | more, num_frames=NUM_FRAMES, options=options
        )

    def check(self, path: Path, *, frames: int = NUM_FRAMES) -> Prediction:
        """Predict: one face, where the PNG shows it, on all frames that were sampled."""
        found = predicted(self.detector, path)
        assert (found.status, found.reason, len(found.tracks)) == ("ok", "", 1), found
        assert (found.about["width"], found.about["height"]) == (192, 128)
        assert found.about["frames"] == frames
        assert found.face_frames == found.sampled_frames == min(frames, 4)
        assert found.tracks[0].box == pytest.approx(self.upright.tracks[0].box, abs=BOX_PX)
        return found


def predicted(detector: LoadedDetector, path: Path) -> Prediction:
    """The prediction for one file, by the very way of scripts/predict.py, in this process."""
    with TemporaryDirectory() as folder:
        files, here = collect(str(path)), Executor(num_workers=0)
        (done,) = predict_files(detector, files, here, device="cpu", folder=Path(folder))
        return done.prediction


@pytest.fixture(scope="module")
def scored(detector: LoadedDetector, face: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    path = tmp_path_factory.mktemp("upright") / "face.png"
    Image.fromarray(face).save(path)
    return Scored(detector, face, predicted(detector, path))


def test_the_picture_has_one_face_at_its_left(scored: Scored) -> None:
    assert len(scored.upright.tracks) == 1
    assert scored.upright.tracks[0].box[2] < 128
    assert (scored.upright.about["duration_s"], scored.upright.about["codec"]) == (0, "image")


@pytest.mark.parametrize(("suffix", "codec"), BOTH, ids=str)
def test_every_codec_in_every_container(scored: Scored, tmp_path: Path, suffix: str, codec: str) -> None:
    about = scored.check(scored.film(tmp_path / f"film.{suffix}", codec)).about
    assert (about["codec"], about["container"]) == (codec, NAMES[suffix])
    assert about["fps"] == pytest.approx(25, rel=0.01)
    assert about["duration_s"] == pytest.approx(0.4, abs=0.002)
    assert about["rotation_deg"] == 0


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
@pytest.mark.parametrize("suffix", ROTATING)
def test_a_turned_film_is_shown_upright(
    scored: Scored, tmp_path: Path, suffix: str, rotation_deg: int
) -> None:
    stored = np.rot90(scored.face, -rotation_deg // 90)
    path = scored.film(
        tmp_path / f"film.{suffix}", USUAL[suffix], rotation_deg=rotation_deg, show=lambda _: stored
    )
    assert scored.check(path).about["rotation_deg"] % 360 == rotation_deg


@pytest.mark.parametrize("suffix", ROTATING)
def test_a_variable_frame_rate_keeps_its_times(scored: Scored, tmp_path: Path, suffix: str) -> None:
    found = scored.check(scored.film(tmp_path / f"film.{suffix}", USUAL[suffix], times_ms=TIMES_MS))
    windows = found.tracks[0].windows
    assert [window.start_s for window in windows] == pytest.approx(
        [TIMES_MS[window.start_frame] / 1000 for window in windows], abs=0.0011
    )
    assert 0.7 < found.about["duration_s"] <= 0.8


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_sound_beside_the_picture_changes_nothing(scored: Scored, tmp_path: Path, suffix: str) -> None:
    path = scored.film(tmp_path / f"film.{suffix}", USUAL[suffix], sound=CONTAINERS[suffix][1])
    assert scored.check(path).about["duration_s"] == pytest.approx(0.4, abs=0.002)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_sound_alone_is_one_row_with_the_reason(
    detector: LoadedDetector, tmp_path: Path, suffix: str
) -> None:
    found = predicted(detector, sound(tmp_path / f"sound.{suffix}", CONTAINERS[suffix][1]))
    assert (found.status, found.prob, found.verdict) == ("error", None, "undetermined")
    assert found.reason == f"DecodeError: {found.file}: not a readable video (no video stream)"
    assert len(found.about["sha256"]) == 64


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_kind_of_still_image(scored: Scored, tmp_path: Path, suffix: str) -> None:
    Image.fromarray(scored.face).save(tmp_path / f"face{suffix}")
    scored.check(tmp_path / f"face{suffix}", frames=1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", EXIF)
def test_an_image_is_turned_as_its_exif_asks(
    scored: Scored, tmp_path: Path, orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(EXIF[orientation](scored.face))
    Image.fromarray(stored).save(tmp_path / f"face{suffix}", exif=exif)
    scored.check(tmp_path / f"face{suffix}", frames=1)


@pytest.mark.parametrize(("name", "kind"), [("a.mp4", "video"), ("a.png", "image"), ("a.dat", "video")])
def test_what_is_no_picture_is_refused_under_any_name(
    detector: LoadedDetector, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / name).write_text("no picture")
    found = predicted(detector, tmp_path / name)
    assert found.status == "error"
    assert f"{tmp_path / name}: not a readable {kind}" in found.reason
