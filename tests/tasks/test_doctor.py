import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from deepfake.doctor.codecs import CODECS, TRIALS
from deepfake.doctor.private import forget
from deepfake.errors import SomeFailed, UserError
from deepfake.tasks import doctor, selftest

Composed = Callable[..., DictConfig]
FINE = {name: dict.fromkeys(TRIALS, "ok") for name in CODECS}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "try_codecs", lambda folder: FINE)
    monkeypatch.setenv("WANDB_MODE", "offline")


def fails(folder: Path) -> None:
    print("said by a job")
    logging.getLogger("deepfake").warning("logged by a job")
    raise UserError(f"no room in\n{folder.parent}")


def test_a_failed_stage_is_one_line_those_after_it_are_skipped_and_the_rest_is_told(
    composed: Composed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(selftest, "STAGES", {"render": lambda folder: None, "extract": fails, "train": fails})
    with pytest.raises(SomeFailed, match="self-test: extract failed"):
        doctor.main(composed("doctor"), tmp_path)
    report = json.loads((tmp_path / "doctor.json").read_text())
    stages = {stage["stage"]: stage for stage in report["selftest"]}
    assert [stage["status"] for stage in stages.values()] == ["ok", "failed", "skipped"]
    assert stages["extract"]["error"].startswith("UserError: no room in ")
    assert stages["render"]["seconds"] >= 0
    assert stages["train"]["seconds"] is None
    printed = capsys.readouterr().out
    assert "said by a job" not in printed
    told = (tmp_path / "selftest.log").read_text()
    assert "said by a job" in told
    assert "logged by a job" in told
    assert "Traceback" in told
    text = (tmp_path / "doctor.txt").read_text()
    # the terminal says the same, in as many columns as it has room for
    assert sorted(text.split()) == sorted(printed.split())


def test_without_the_self_test_the_report_is_whole(composed: Composed, tmp_path: Path) -> None:
    doctor.main(composed("doctor", "selftest=false"), tmp_path)
    report = json.loads((tmp_path / "doctor.json").read_text())
    assert report["selftest"] == []
    assert report["wandb"] == "offline, by WANDB_MODE"
    assert {"torch", "av", "decord"} <= {library["name"] for library in report["libraries"]}
    assert "Self-test" not in (tmp_path / "doctor.txt").read_text()
    with pytest.raises(UserError, match="selftest=maybe: true or false"):
        doctor.main(composed("doctor", "selftest=maybe"), tmp_path)


def test_no_secret_and_no_home_is_in_any_file(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "annabella")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    forget()

    def tells(folder: Path) -> None:
        print("0123456789abcdef")
        raise OSError(f"{tmp_path}/x of annabella: 0123456789abcdef")

    run_dir = tmp_path / "run"
    run_dir.mkdir()
    monkeypatch.setattr(selftest, "STAGES", {"render": tells})
    with pytest.raises(SomeFailed):
        doctor.main(composed("doctor"), run_dir)
    forget()
    texts = [path.read_text() for path in run_dir.iterdir()] + [capsys.readouterr().out]
    assert len(texts) == 4
    for text in texts:
        assert not [secret for secret in (str(tmp_path), "annabella", "0123456789") if secret in text]
    assert "~/x of <user>: <secret>" in texts[-1]


def test_what_makes_trouble_is_noted_with_its_mend() -> None:
    report = {
        "libraries": [{"name": "numpy", "wrong": "1.0 is outside >=2"}],
        "codecs": FINE | {"HEVC": dict.fromkeys(TRIALS, "ok") | {"deepfake": "it broke"}},
        "disks": {"outputs": {"free_bytes": 1e9}, "shared memory": {"free_bytes": 64e6}},
        "limits": {"open_files": 256},
        "accelerators": {"gpus": [], "torch_cuda": None},
    }
    assert doctor.notes(report) == [
        "numpy 1.0 is outside >=2: uv sync",
        "HEVC cannot be read: it broke",
        "outputs: 1.0 GB free; make room",
        "shared memory: 0.1 GB free; docker run --shm-size=2g, or data.num_workers=0",
        "only 256 files can be open at a time: ulimit -n 4096",
    ]


@pytest.mark.slow
def test_the_whole_way_works_on_two_tiny_videos(composed: Composed, tmp_path: Path) -> None:
    doctor.main(composed("doctor"), tmp_path)
    report = json.loads((tmp_path / "doctor.json").read_text())
    assert [(stage["stage"], stage["status"]) for stage in report["selftest"]] == [
        (name, "ok") for name in ("render", "extract", "train", "evaluate", "predict")
    ]
