"""A split under distortions, on a small demo corpus."""

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from deepfake.data.distortions import DISTORTIONS
from deepfake.errors import UserError
from deepfake.tasks import robustness
from deepfake.tasks.robustness import read_distortions

Composed = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def again(composed: Composed, tiny_demo: tuple[str, ...], trained: Path) -> Callable[..., DictConfig]:
    """The config of a run on the small demo corpus: again("levels=[1]")."""
    checkpoint = f"checkpoint='{trained}/checkpoints/best.ckpt'"
    return partial(composed, "robustness", checkpoint, *tiny_demo, "trainer=cpu")


@pytest.fixture(scope="module")
def distorted(again: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of two distortions at two levels."""
    folder = tmp_path_factory.mktemp("robustness")
    robustness.main(again("distortions=[gaussian_noise,h264]", "levels=[1,5]", "resamples=100"), folder)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "robustness.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_clean_split_is_measured_as_in_the_test_of_training(distorted: Path, trained: Path) -> None:
    clean = rows(distorted)[0]
    tested = json.loads((trained / "metrics.json").read_text())
    assert clean["distortion"] == "clean"
    for rate in ("video_auroc", "video_eer", "video_accuracy", "coverage"):
        assert float(clean[rate]) == tested[f"test/{rate}"]


def test_every_distortion_and_level_is_a_row_that_says_what_it_is(distorted: Path) -> None:
    told = [(row["distortion"], row["level"], row["setting"]) for row in rows(distorted)]
    assert told == [
        ("clean", "0", ""),
        ("gaussian_noise", "1", "variance 0.001"),
        ("gaussian_noise", "5", "variance 0.05"),
        ("h264", "1", "crf 23"),
        ("h264", "5", "crf 40"),
    ]
    whole = json.loads((distorted / "robustness.json").read_text())
    assert [row["video_auroc"] for row in whole["rows"]] == [float(r["video_auroc"]) for r in rows(distorted)]
    assert {"robustness.png", "report.html", "leaks.json", "protocol.csv"} <= {
        path.name for path in distorted.iterdir()
    }


@pytest.mark.parametrize("loader", [("data.batch_size=3",), ("data.batch_size=5", "data.num_workers=2")])
def test_loaders_change_nothing(
    again: Callable[..., DictConfig], distorted: Path, tmp_path: Path, loader: tuple[str, ...]
) -> None:
    robustness.main(again("distortions=[gaussian_noise]", "levels=[5]", "resamples=0", *loader), tmp_path)
    expected = [row for row in rows(distorted) if row["level"] in ("0", "5") and row["distortion"] != "h264"]
    for ours, theirs in zip(rows(tmp_path), expected, strict=True):
        for rate in ("video_auroc", "video_accuracy", "reals_called_fake"):
            assert float(ours[rate]) == pytest.approx(float(theirs[rate]), abs=1e-9)


def test_a_distortion_that_is_not_known_is_named() -> None:
    plain = {"distortions": None, "levels": [1, 5], "split": "test", "seed": 0}
    assert len(read_distortions(plain)) == 2 * len(DISTORTIONS)
    with pytest.raises(UserError, match="fog"):
        read_distortions({**plain, "distortions": ["fog"]})


@pytest.mark.parametrize("width", [1280, 400])
def test_its_page_opens_without_errors_or_requests(
    distorted: Path, look: Callable[..., Any], width: int
) -> None:
    seen = look(distorted / "report.html", width=width)
    assert (seen.errors, seen.requests, seen.too_wide_px) == ([], [], 0)
    assert seen.headings == ("Robustness on the test split of demo/official", "Every level")
