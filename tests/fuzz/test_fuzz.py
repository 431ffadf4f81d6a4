"""Hostile files through the commands themselves; a few in every run of the tests, many in a slow one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from benchmarks import fuzz
from benchmarks import fuzz as campaign
from benchmarks.fuzz import KINDS
from deepfake.errors import SomeFailed, UserError

Composed = Callable[..., DictConfig]


def figures(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "fuzz.json").read_text())


def fuzzed(composed: Composed, run_dir: Path, *given: str) -> dict[str, Any]:
    """The figures of a run that kept its promises."""
    run_dir.mkdir()
    fuzz.main(composed("fuzz", *given), run_dir)
    return figures(run_dir)


def test_every_kind_of_hostile_file_costs_one_row(
    composed: Composed, quick_checkpoint: Path, tmp_path: Path
) -> None:
    files = 2 * len(KINDS)
    found = fuzzed(composed, tmp_path / "run", f"checkpoint={quick_checkpoint}", f"files={files}")
    by_kind = found["outcomes_by_kind"]
    assert sum(found["outcomes"].values()) == files
    assert by_kind["whole"] == {"read": 2}
    for kind in ("empty", "text", "playlist", "pipe", "socket", "dead_link", "device", "loop"):
        assert by_kind[kind] == {"refused": 2}, kind
    assert found["status"] == 1
    assert found["broken_promises"] == []
    assert 0 < found["largest_process_mb"] <= found["peak_mb"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_hostile_files_through_prediction(
    composed: Composed, quick_checkpoint: Path, tmp_path: Path, seed: int
) -> None:
    given = (f"checkpoint={quick_checkpoint}", "files=360", f"seed={seed}")
    assert fuzzed(composed, tmp_path / "run", *given)["broken_promises"] == []


@pytest.mark.slow
def test_hundreds_of_hostile_files_through_extraction(composed: Composed, tmp_path: Path) -> None:
    given = ("target=extract", "files=130")
    assert fuzzed(composed, tmp_path / "run", *given)["broken_promises"] == []


def test_a_run_that_hangs_is_ended_and_told(
    composed: Composed, quick_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "render_films", lambda folder: [quick_checkpoint])
    monkeypatch.setattr(fuzz, "command", lambda *_: ["sleep", "1000"])
    with pytest.raises(SomeFailed, match=r"did not end within 0\.5 s.*3 files have not exactly one row"):
        fuzzed(composed, tmp_path / "run", "checkpoint=x", "files=3", "deadline_s=0.5")
    assert figures(tmp_path / "run")["status"] is None


def test_a_status_of_none_of_our_commands_is_told(tmp_path: Path) -> None:
    ended = campaign.run_watched(["sh", "-c", "echo told; exit 3"], tmp_path / "printed", deadline_s=30)
    assert (ended.status, (tmp_path / "printed").read_text()) == (3, "told\n")
    config = {"deadline_s": 30, "parallel": {"time_limit_s": 5}}
    assert fuzz.broken_promises(config, ended, 21.0, ["a/b.mp4"]) == [
        "the run ended with status 3",
        "a file took 21.0 s, its limit was 5 s",
        "1 files have not exactly one row, b.mp4 for example",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [("target=train", "target=train: must be one of"), ("seed=0", "add checkpoint="), ("files=0", "files=0")],
)
def test_a_mistake_is_named(composed: Composed, tmp_path: Path, given: str, message: str) -> None:
    checkpoint = [] if given == "seed=0" else ["checkpoint=x"]
    with pytest.raises(UserError, match=message):
        fuzz.main(composed("fuzz", given, *checkpoint), tmp_path)
