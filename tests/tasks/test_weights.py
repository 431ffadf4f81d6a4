"""Published weights in the jobs: training starts from them, prediction needs nothing else."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from requirements import skip_missing
from torch import Tensor, nn

from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings
from deepfake.models.published import read_weights
from deepfake.tasks import predict, train
from deepfake.tasks.build import build_detector, choose_detector, resolve

Composed = Callable[..., DictConfig]
SHARED = Path(__file__).parents[2].parent / "shared"
FAST = ("trainer=cpu", "data.windows_per_video=1", "data.eval_windows=3", "faces.num_clips=2")
IMAGENET_MEAN = [0.485, 0.456, 0.406]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint-0.pth.tar of a Meso4 for 224 px, in the layout of the 2020 project."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}
    for index, (kernel, channels, out) in enumerate([(3, 3, 8), (5, 8, 8), (5, 8, 16), (5, 16, 16)]):
        state[f"convs.{4 * index}.weight"] = nn.Conv2d(channels, out, kernel).weight.detach()
        norm = nn.BatchNorm2d(out).state_dict()
        state |= {f"convs.{4 * index + 2}.{name}": value for name, value in norm.items()}
    for name, layer in (("linear.1", nn.Linear(784, 16)), ("linear.4", nn.Linear(16, 1))):
        state |= {f"{name}.{key}": value.detach() for key, value in layer.state_dict().items()}
    path = tmp_path_factory.mktemp("older") / "checkpoint-0.pth.tar"
    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}}, path)
    return path


def test_a_model_wants_the_crops_of_its_weights_unless_told_otherwise(
    composed: Composed, older: Path
) -> None:
    cfg = composed("train", f"weights={older}", "model.std=[0.5,0.5,0.5]")
    weights = read_weights(older)
    net = resolve(cfg, weights)["model"]["net"]
    assert cfg.published == {}
    assert net["backbone"]["image_size"] == net["input"]["size"] == 224
    assert (net["input"]["margin"], net["input"]["mean"]) == (1.05, IMAGENET_MEAN)
    assert net["input"]["std"] == [0.5, 0.5, 0.5]
    detector = build_detector(net, weights)
    given = torch.load(older, weights_only=True)["model"]["linear.4.weight"]
    assert torch.equal(detector.head.linear.weight, given)  # type: ignore[union-attr]


def test_an_image_size_that_the_weights_are_not_for_is_named(composed: Composed, older: Path) -> None:
    cfg = composed("train", f"weights={older}", "model.image_size=256")
    weights = read_weights(older)
    text = r"dense\.weight is \(16, 1024\) in the model and \(16, 784\) in the file.*model\.image_size"
    with pytest.raises(UserError, match=text):
        build_detector(resolve(cfg, weights)["model"]["net"], weights)


def test_without_weights_a_model_keeps_its_own_defaults(composed: Composed) -> None:
    cfg = composed("train", "model=efficientnet")
    spec = resolve(cfg, None)["model"]["net"]["input"]
    assert (spec["size"], spec["margin"], spec["mean"]) == (224, 1.3, IMAGENET_MEAN)


def test_training_starts_from_the_weights_and_its_checkpoint_tells_their_crops(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, older: Path, tmp_path: Path
) -> None:
    still = ("trainer.max_epochs=1", "model.optimizer.lr=0", "resamples=0")
    train.main(composed("train", *tiny_demo, *FAST, *still, f"weights={older}"), tmp_path)
    checkpoint = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    given = torch.load(older, weights_only=True)["model"]
    assert torch.equal(checkpoint["state_dict"]["detector.backbone.dense.weight"], given["linear.1.weight"])
    assert checkpoint["deepfake"]["net"]["input"]["size"] == 224


def test_a_file_of_weights_predicts_at_once(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, older: Path, tmp_path: Path
) -> None:
    video = min(Path(tiny_demo[0].partition("=")[2]).rglob("*.mp4"))
    predict.main(composed("predict", "model=meso", f"weights={older}", f"input={video}"), tmp_path)
    answer = json.loads((tmp_path / "predictions.json").read_text())
    assert answer["files"][0]["status"] == "ok"
    assert 0 < answer["files"][0]["prob"] < 1
    assert answer["model"]["path"] == str(older)
    assert answer["model"]["net"]["input"]["mean"] == IMAGENET_MEAN
    assert (answer["decision"]["threshold"], answer["decision"]["threshold_origin"]) == (0.5, "default")
    assert answer["preprocessing"]["faces"]["num_clips"] == 16
    assert str(older) in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to predict with"),
        (["weights={older}", "checkpoint={ckpt}"], "what to predict with"),
        (["weights={older}"], "say of which model they are"),
        (["weights={ckpt}", "model=meso"], "use checkpoint="),
        (["weights={older}", "model=meso_lstm"], "cannot tell real from fake yet"),
        (["weights={older}", "model=meso", "model.margin=2"], "add faces.margin=2"),
        (["weights={older}", "model=meso", "model.window=9"], "add faces.clip_frames=9"),
        (["checkpoint={ckpt}", "model=meso"], "leave model= away"),
        (["checkpoint={ckpt}", "faces.margin=2"], r"leave these away: margin: 2 != 1\.6"),
        (
            ["checkpoint={ckpt}", "faces=full", "faces.detect_every=1"],
            "leave these away: detect_every: 1 != 7",
        ),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused_with_the_mend(
    composed: Composed, trained: Path, older: Path, arguments: list[str], message: str
) -> None:
    places = {"older": older, "ckpt": trained / "checkpoints" / "best.ckpt"}
    filled = [argument.format(**places) for argument in arguments]
    with pytest.raises(UserError, match=message):
        choose_detector(composed("predict", "input=x.mp4", *filled), device="cpu")


@pytest.mark.parametrize("given", ["checkpoint={ckpt}", "weights={older} model=meso"])
@pytest.mark.parametrize(
    ("look", "sampled", "windows"),
    [
        ("faces=quick", (4, 8), (8, None)),
        ("faces=full", (None, 32), (None, 1)),
        ("faces=full faces.clip_frames=64", (None, 64), (None, 1)),
        ("faces.num_clips=5 faces.clip_frames=9", (5, 9), (10, None)),
        ("faces.num_clips=32", (32, 8), (32, None)),
    ],
)
def test_how_much_is_looked_at_is_chosen_and_how_faces_are_cut_is_not(
    *,
    composed: Composed,
    make_checkpoint: Callable[..., Path],
    older: Path,
    given: str,
    look: str,
    sampled: tuple[int | None, int],
    windows: tuple[int | None, int | None],
) -> None:
    own = FaceSettings(min_face_px=64, margin=1.7)
    filled = given.format(ckpt=make_checkpoint(faces=own), older=older).split()
    checkpoint = choose_detector(
        composed("predict", "input=x", *filled, *look.split()), device="cpu"
    ).checkpoint
    settings = checkpoint.faces
    assert (settings.num_clips, settings.clip_frames) == sampled
    assert (checkpoint.evaluation.max_windows, checkpoint.evaluation.hop) == windows
    unchanged = own if "checkpoint" in given else FaceSettings()
    quick = "quick" in look
    assert settings == replace(unchanged, num_clips=sampled[0], clip_frames=sampled[1], at_key_frames=quick)


def test_by_default_a_checkpoint_looks_at_as_much_as_in_its_test(
    composed: Composed, make_checkpoint: Callable[..., Path]
) -> None:
    own = FaceSettings(num_clips=2, clip_frames=9)
    cfg = composed("predict", "input=x", f"checkpoint={make_checkpoint(faces=own)}")
    assert choose_detector(cfg, device="cpu").checkpoint.faces == own


@pytest.mark.parametrize(("given", "num_clips"), [("16", 16), ("all", None), ("null", 2)])
def test_what_the_command_names_counts_and_null_is_as_trained(
    composed: Composed, make_checkpoint: Callable[..., Path], given: str, num_clips: int | None
) -> None:
    own = FaceSettings(num_clips=2, clip_frames=9, look_near=0.3)
    cfg = composed(
        "predict", "input=x", f"checkpoint={make_checkpoint(faces=own)}", f"faces.num_clips={given}"
    )
    assert choose_detector(cfg, device="cpu").checkpoint.faces == replace(own, num_clips=num_clips)


def test_the_published_meso4_tells_a_real_fake_from_its_original(
    composed: Composed, ffpp_videos: Path, tmp_path: Path
) -> None:
    weights = SHARED / "weights" / "mesonet" / "Meso4_DF.h5"
    if not weights.is_file():
        skip_missing("the published weights in ../shared are not here")
    fake = ffpp_videos / "manipulated_sequences" / "Deepfakes" / "c23" / "videos" / "519_515.mp4"
    real = ffpp_videos / "original_sequences" / "youtube" / "c23" / "videos" / "519.mp4"
    given = ("model=meso", f"weights={weights}", f"input=[{fake},{real}]", "faces.num_clips=8")
    predict.main(composed("predict", *given), tmp_path)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        prob = {Path(row["file"]).stem: float(row["prob"]) for row in csv.DictReader(file)}
    assert prob["519_515"] > 0.85
    assert prob["519"] < 0.55
