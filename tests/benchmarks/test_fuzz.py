"""Hostile files through the commands themselves; a few in every run of the tests, many in a slow one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from benchmarks import run as benchmark
from benchmarks.fuzz import CommandResult, find_problems, run_watched
from benchmarks.hostile_files import KINDS, render_films
from deepfake.errors import SomeFailed, UserError

Composed = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "films"
    render_films(folder)
    return folder


@pytest.fixture
def fuzz(composed: Composed, films: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the target with overrides in a new folder; returns its details. Raises SomeFailed on a problem."""

    def run(*overrides: str) -> dict[str, Any]:
        run_dir = tmp_path / "run"
        shutil.copytree(films, run_dir / "films")
        benchmark.main(composed("benchmark", "target=fuzz", "device=cpu", *overrides), run_dir)
        figures = json.loads((run_dir / "benchmark.json").read_text())
        assert 0 < figures["fuzz/peak_memory_one_process_mb"] <= figures["fuzz/peak_memory_mb"]
        assert figures["fuzz/problems"] == 0
        details: dict[str, Any] = json.loads((run_dir / "details.json").read_text())
        return details

    return run


def test_every_kind_of_hostile_file_costs_one_row(
    fuzz: Callable[..., dict[str, Any]], quick_checkpoint: Path
) -> None:
    files = 2 * len(KINDS)
    found = fuzz(f"checkpoint={quick_checkpoint}", f"files={files}")
    by_kind = found["outcomes_by_kind"]
    assert sum(found["outcomes"].values()) == files
    assert by_kind["whole"] == {"read": 2}
    for kind in ("empty", "text", "playlist", "pipe", "socket", "dead_link", "device", "loop"):
        assert by_kind[kind] == {"refused": 2}, kind
    assert found["status"] == 1


@pytest.mark.slow
def test_without_a_checkpoint_an_untrained_one_is_made(fuzz: Callable[..., dict[str, Any]]) -> None:
    assert fuzz("files=1", "faces.num_clips=1")["outcomes"] == {"read": 1}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_hostile_files_through_prediction(
    fuzz: Callable[..., dict[str, Any]], quick_checkpoint: Path, seed: int
) -> None:
    assert fuzz(f"checkpoint={quick_checkpoint}", "files=360", f"seed={seed}")["problems"] == []


@pytest.mark.slow
def test_hundreds_of_hostile_files_through_extraction(fuzz: Callable[..., dict[str, Any]]) -> None:
    assert fuzz("fuzz=extract", "files=130")["problems"] == []


def test_a_run_that_hangs_is_ended_and_fails_the_command(
    fuzz: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """No command can import torch within the deadline; the checkpoint is the untrained one."""
    with pytest.raises(SomeFailed):
        fuzz("files=3", "deadline_s=0.5")
    details = json.loads((tmp_path / "run" / "details.json").read_text())
    assert details["status"] is None
    assert len(details["problems"]) == 2
    assert (tmp_path / "run" / "untrained.ckpt").is_file()


def test_a_status_that_no_command_has_is_a_problem(tmp_path: Path) -> None:
    result = run_watched(["sh", "-c", "echo printed; exit 3"], tmp_path / "printed", deadline_s=30)
    assert (result.status, (tmp_path / "printed").read_text()) == (3, "printed\n")
    assert len(find_problems(result, 0.0, [], deadline_s=30, limit_s=5)) == 1


def test_problems_are_a_hang_a_late_file_and_a_file_without_a_row() -> None:
    good = CommandResult(status=1, seconds=9.0, peak_mb=1.0, largest_mb=1.0)
    assert find_problems(good, 19.0, [], deadline_s=30, limit_s=5) == []
    assert find_problems(good, 999.0, [], deadline_s=30, limit_s=None) == []
    (late,) = find_problems(good, 21.0, [], deadline_s=30, limit_s=5)
    assert "21.0 s" in late
    (lacking,) = find_problems(good, 0.0, ["a/b.mp4"], deadline_s=30, limit_s=5)
    assert "b.mp4" in lacking
    killed = CommandResult(status=None, seconds=30.0, peak_mb=1.0, largest_mb=1.0)
    (hanging,) = find_problems(killed, 0.0, [], deadline_s=30, limit_s=5)
    assert "deadline_s" in hanging


@pytest.mark.parametrize("mistake", ["fuzz=train", "files=0"])
def test_a_mistake_is_named(composed: Composed, tmp_path: Path, mistake: str) -> None:
    with pytest.raises(UserError, match=mistake):
        benchmark.main(composed("benchmark", "target=fuzz", mistake), tmp_path)
