import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from deepfake.errors import UserError
from deepfake.tasks import compare

Composed = Callable[..., DictConfig]


def leave(folder: Path, window: int, auroc: float) -> Path:
    """What compare reads of a finished run."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "hydra.yaml").write_text(
        f"hydra: {{overrides: {{task: [model.window={window}]}}, runtime: {{choices: {{}}}}}}\n"
    )
    (folder / ".hydra" / "config.yaml").write_text(f"{{monitor: val/loss, model: {{window: {window}}}}}\n")
    about = {"protocol": "demo/official", "protocol_hash": "aaaa", "test/video_auroc": auroc}
    (folder / "metrics.json").write_text(json.dumps(about))
    return folder


def test_runs_and_sweeps_are_put_into_one_table_each_run_once(composed: Composed, tmp_path: Path) -> None:
    single = leave(tmp_path / "single", 4, 0.9)
    sweep = [leave(tmp_path / "sweep" / f"{number}_w", 2**number, 0.5 + number / 10) for number in (0, 1)]
    out = tmp_path / "out"
    out.mkdir()
    cfg = composed("compare", f"runs=[{sweep[0].parent},{single},{sweep[0]}]")
    compare.main(cfg, out)
    with (out / "compare.csv").open(newline="") as file:
        rows = [(row["run"], row["model.window"], row["test/video_auroc"]) for row in csv.DictReader(file)]
    assert rows == [("sweep/0_w", "1", "0.5"), ("sweep/1_w", "2", "0.6"), ("single", "4", "0.9")]
    assert {path.name for path in out.iterdir()} == {
        "compare.csv",
        "compare.md",
        "compare.html",
        "compare.png",
    }


def test_a_comparison_needs_resamples(composed: Composed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="resamples=0"):
        compare.main(composed("compare", f"runs={tmp_path}", "resamples=0"), tmp_path)


@pytest.mark.parametrize(("place", "message"), [("none", "no such folder"), ("empty", "contains no run")])
def test_a_place_without_runs_is_named(composed: Composed, tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"runs={tmp_path / place}: {message}"):
        compare.main(composed("compare", f"runs={tmp_path / place}"), tmp_path)
