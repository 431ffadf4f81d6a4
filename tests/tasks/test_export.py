"""Exported files against the detectors that they were made of, and their cards."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from extracted import extracted_faces
from omegaconf import DictConfig

from benchmarks.films import Film
from benchmarks.windows import warm_up
from deepfake.config import build, to_plain
from deepfake.data.crops import to_tensor, window_crops
from deepfake.errors import Stopped, UserError
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import VideoFaces
from deepfake.models.detector import Detector
from deepfake.prediction.detector import load_detector
from deepfake.prediction.predictor import predict_faces
from deepfake.records import InputSpec
from deepfake.scoring.decision import Decision
from deepfake.tasks import export, predict
from deepfake.tasks.export import check, compare_speed, random_crops
from deepfake.training.checkpoint import Checkpoint, read_detector

Composed = Callable[..., DictConfig]
SETTINGS = FaceSettings(num_clips=2, clip_frames=8)
SIZES = {"meso": 64, "meso_inception": 64, "meso_lstm": 64, "efficientnet": 64, "efficientnet_lstm": 64}
QUICK = ("meso", "meso_lstm")  # the others take a minute
MODELS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SIZES]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three heads that move."""
    folder = tmp_path_factory.mktemp("films")
    films = [Film(folder=folder, width=320, height=240, num_frames=24, seed=seed) for seed in range(3)]
    for film in films:
        film.render()
    return [film.path for film in films]


@pytest.fixture(scope="module")
def faces(videos: list[Path]) -> dict[str, VideoFaces]:
    return {video.name: extracted_faces(video, SETTINGS) for video in videos}


@dataclass(frozen=True)
class Untrained:
    """Where checkpoints of detectors with random weights are kept, and how they are made."""

    composed: Composed
    folder: Path
    faces: dict[str, VideoFaces]

    def checkpoint(self, model: str) -> Path:
        """One whose norms know these faces and blotches, and whose windows' logits are spread around 0."""
        path = self.folder / f"{model}.ckpt"
        if path.exists():
            return path
        torch.manual_seed(0)
        net = to_plain(self.composed("train", f"model={model}", f"model.image_size={SIZES[model]}").model)[
            "net"
        ]
        detector: Detector = build(net)
        some = [window_crops(own, range(16), detector.input) for own in self.faces.values()]
        frames = to_tensor(np.concatenate(some))
        blotches = random_crops(1, 64, SIZES[model], torch.Generator().manual_seed(2))[0]
        warm_up(detector.eval(), torch.cat([frames, blotches]))
        windows = np.arange(len(frames)).reshape(-1, detector.input.window)
        logits = detector.score(windows, lambda rows: frames[torch.from_numpy(rows)])
        linear = detector.head.linear
        assert isinstance(linear, torch.nn.Linear)
        with torch.no_grad():
            grow = 2 / float(logits.std())
            linear.weight *= grow
            linear.bias.fill_(grow * (float(linear.bias) - float(logits.mean())))
        checkpoint = Checkpoint(net=net, faces=SETTINGS, decision=Decision(threshold=0.375))
        state = {f"detector.{name}": values for name, values in detector.state_dict().items()}
        torch.save({"deepfake": checkpoint.to_dict(), "state_dict": state}, path)
        return path


@pytest.fixture(scope="module")
def untrained(
    composed: Composed, faces: dict[str, VideoFaces], tmp_path_factory: pytest.TempPathFactory
) -> Untrained:
    return Untrained(composed, tmp_path_factory.mktemp("untrained"), faces)


@pytest.mark.parametrize("model", MODELS)
def test_an_onnx_file_says_of_videos_what_pytorch_says(
    composed: Composed, untrained: Untrained, faces: dict[str, VideoFaces], tmp_path: Path, model: str
) -> None:
    file = untrained.checkpoint(model)
    export.main(composed("export", f"checkpoint={file}", "repeats=0"), tmp_path)
    detector, checkpoint = read_detector(file)
    exported = load_detector(tmp_path / f"{model}.onnx", device="cpu")
    loaded, same = exported.detector, exported.checkpoint
    assert same == checkpoint
    assert loaded.input == detector.input
    windows: list[tuple[float, float]] = []
    for name, own in faces.items():
        ours, theirs = predict_faces(detector, checkpoint, name, own), predict_faces(loaded, same, name, own)
        assert ours.prob is not None
        assert theirs.prob is not None
        assert abs(ours.prob - theirs.prob) <= 1e-4
        windows += [
            (one.prob, other.prob)
            for mine, yours in zip(ours.tracks, theirs.tracks, strict=True)
            for one, other in zip(mine.windows, yours.windows, strict=True)
        ]
    probs, others = np.array(windows).T
    assert np.abs(probs - others).max() <= 1e-4
    assert np.ptp(probs) > 0.2  # or all would be alike by chance
    whole = onnxruntime.InferenceSession(
        (tmp_path / f"{model}.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    frames = to_tensor(window_crops(next(iter(faces.values())), range(16), detector.input))
    random = torch.Generator().manual_seed(1)
    for shape in ((1, 1), (1, 9), (2, 3), (5, 2)):
        crops = frames[torch.randint(0, 16, shape, generator=random)]
        (logit,) = whole.run(None, {"crops": crops.numpy()})
        with torch.inference_mode():
            assert np.abs(logit - detector(crops).numpy()).max() <= 1e-4
        assert logit.shape == shape[:1]


@pytest.mark.parametrize("model", ["meso_lstm", pytest.param("efficientnet_lstm", marks=pytest.mark.slow)])
def test_a_pt2_file_says_what_pytorch_says_for_any_batch_and_window(
    composed: Composed, untrained: Untrained, tmp_path: Path, model: str
) -> None:
    checkpoint, output = untrained.checkpoint(model), tmp_path / "made" / "detector.pt2"
    command = (f"checkpoint={checkpoint}", "format=torch_export", f"output={output}", "repeats=1")
    export.main(composed("export", *command), tmp_path)
    metadata = {"deepfake.json": ""}
    program = torch.export.load(output, extra_files=metadata).module()
    detector, _ = read_detector(checkpoint)
    for batch, window in ((1, 1), (2, 3), (5, 9)):
        crops = random_crops(batch, window, SIZES[model], torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = detector(crops)
            assert (program(crops) - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())
    card = json.loads((output.parent / "detector.card.json").read_text())
    assert json.loads(metadata["deepfake.json"])["fingerprints"] == card["fingerprints"]
    assert set(card["speed"]["windows_per_s"]) == {"PyTorch", "torch.export"}
    assert str(Path(export.__file__).parents[2]).encode() not in output.read_bytes()


def test_the_export_of_a_training_predicts_alike_and_its_card_tells_what_the_run_told(
    composed: Composed, trained: Path, videos: list[Path], tmp_path: Path
) -> None:
    best = trained / "checkpoints" / "best.ckpt"
    export.main(composed("export", f"checkpoint={best}", "repeats=1"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.card.json", "best.card.md", "best.onnx"]
    probs = []
    for checkpoint in (best, tmp_path / "best.onnx"):
        run_dir = tmp_path / checkpoint.suffix
        run_dir.mkdir()
        predict.main(
            composed("predict", f"checkpoint={checkpoint}", f"input=[{videos[0]},{videos[-1]}]"), run_dir
        )
        with (run_dir / "predictions.csv").open() as file:
            probs.append([float(row["prob"]) for row in csv.DictReader(file)])
    assert probs[0] == pytest.approx(probs[1], abs=1e-4)
    command = (f"checkpoint={tmp_path}/best.onnx", f"input={videos[0]}", "explain=true")
    with pytest.raises(UserError, match="heat maps take the network in PyTorch"):
        predict.main(composed("predict", *command), tmp_path)

    card = json.loads((tmp_path / "best.card.json").read_text())
    detector, checkpoint = read_detector(best)
    metrics = json.loads((trained / "metrics.json").read_text())
    assert card["metrics"] == metrics
    assert checkpoint.protocol is not None
    assert card["protocol"] == {"name": checkpoint.protocol["name"], "hash": metrics["protocol_hash"]}
    assert card["score"]["threshold"] == checkpoint.decision.threshold
    assert card["faces"] == checkpoint.faces.to_dict()
    assert (
        InputSpec(**{k: v for k, v in card["input"].items() if k not in ("dtype", "colours")})
        == detector.input
    )
    assert (card["input"]["dtype"], card["input"]["colours"]) == ("uint8", "RGB")
    assert card["file"]["bytes"] == (tmp_path / "best.onnx").stat().st_size
    assert card["network"] == {
        "backbone": "Meso4",
        "head": "LinearHead",
        "name": None,
        "parameters": 27977,
    }
    assert 0 < card["check"]["largest_difference"] < 1e-4
    assert min(card["speed"]["windows_per_s"].values()) > 0
    text = (tmp_path / "best.card.md").read_text()
    for told in (
        "# Model card: best.onnx",
        "Its training videos are drawn by a program",
        f"fitted on the validation split of {checkpoint.protocol['name']}",
        f"hash `{metrics['protocol_hash']}`",
        card["file"]["sha256"],
        "AUROC of videos (test)",
        "from 0 (real) to 1",
    ):
        assert told in text
    assert "\n\n\n" not in text


def test_metrics_of_a_run_are_those_of_its_best_checkpoint_alone(
    composed: Composed, trained: Path, tmp_path: Path
) -> None:
    export.main(composed("export", f"checkpoint={trained}/checkpoints/last.ckpt", "repeats=0"), tmp_path)
    card = json.loads((tmp_path / "last.card.json").read_text())
    assert card["metrics"] is None
    assert card["speed"] is None
    assert "a run's metrics are those of its best.ckpt" in (tmp_path / "last.card.md").read_text()


def test_published_weights_are_exported_without_a_checkpoint(
    composed: Composed, mesonet_files: Path, tmp_path: Path
) -> None:
    command = ("model=meso", f"weights={mesonet_files}/Meso4_DF.h5", "repeats=0")
    export.main(composed("export", *command), tmp_path)
    loaded = load_detector(tmp_path / "Meso4_DF.onnx", device="cpu")
    assert (loaded.detector.input.size, loaded.checkpoint.protocol) == (256, None)
    assert "Published weights" in (tmp_path / "Meso4_DF.card.md").read_text()


def test_a_file_that_is_there_is_replaced_only_when_told(
    composed: Composed, untrained: Untrained, tmp_path: Path
) -> None:
    output = tmp_path / "kept.onnx"
    output.write_text("precious")
    command = (f"checkpoint={untrained.checkpoint('meso')}", f"output={output}", "repeats=0")
    with pytest.raises(UserError, match=r"kept\.onnx: is there already; add overwrite=true"):
        export.main(composed("export", *command), tmp_path)
    assert output.read_text() == "precious"
    export.main(composed("export", *command, "overwrite=true"), tmp_path)
    assert load_detector(output, device="cpu").detector.input.size == 64
    with pytest.raises(UserError, match="exported already"):
        export.main(composed("export", f"checkpoint={output}", "repeats=0"), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["output=a.pt2"], r"output=a\.pt2: format=onnx makes \.onnx files"),
        (["checkpoint=none.ckpt"], r"checkpoint=none\.ckpt: no such file"),
        ([], "give checkpoint=FILE.ckpt"),
    ],
)
def test_a_mistake_is_told(composed: Composed, tmp_path: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        export.main(composed("export", *overrides), tmp_path)


def test_a_file_that_says_something_else_is_an_error(untrained: Untrained) -> None:
    detector, _ = read_detector(untrained.checkpoint("meso"))
    found = check(detector, lambda crops: detector(crops) + 2**-14, tolerance=1e-4)
    assert found["largest_difference"] == pytest.approx(2**-14, rel=0.02)
    assert found["shapes"] == ["1×1", "2×2", "3×2", "5×1"]
    with pytest.raises(Stopped, match=r"random crops \(1, 1, 3, 64, 64\) the file's logits are up to 0\.00"):
        check(detector, lambda crops: detector(crops) * 1.001 + 1e-3, tolerance=1e-4)
    with pytest.raises(Stopped, match="up to nan"):
        check(detector, lambda crops: detector(crops) * float("nan"), tolerance=1e-4)


def test_speed_is_windows_a_second_of_calls_of_as_many_frames() -> None:
    spec = InputSpec(size=32, margin=1.3, mean=(0,) * 3, std=(1,) * 3, window=8)
    seen: list[tuple[int, ...]] = []

    def run(crops: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(crops.shape))
        return crops.float().mean(dim=(1, 2, 3, 4))

    speed = compare_speed({"one": run, "other": run}, spec, repeats=2)
    assert speed is not None
    assert seen == [(4, 8, 3, 32, 32)] * 6
    assert (speed["windows"], speed["frames"], speed["threads"]) == (4, 8, torch.get_num_threads())
    assert list(speed["windows_per_s"]) == ["one", "other"]
    assert compare_speed({"one": run}, spec, repeats=0) is None
