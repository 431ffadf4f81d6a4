import getpass
import importlib.metadata
import json
import os
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from omegaconf import DictConfig
from packaging.requirements import Requirement

from deepfake.errors import SomeFailed, UserError
from deepfake.reports.html import TextConsole
from deepfake.tasks import doctor
from deepfake.tasks.doctor import (
    CODECS,
    READERS,
    check_version,
    compare,
    examine_packages,
    moving_waves,
    scrub,
    try_codec,
    try_codecs,
)

Composed = Callable[..., DictConfig]
ATTEMPTS = ("encode", *READERS)
FINE = {codec: dict.fromkeys(ATTEMPTS, "ok") for codec in CODECS}
NUMPY = importlib.metadata.version("numpy")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "try_codecs", lambda folder: FINE)
    monkeypatch.setenv("WANDB_MODE", "offline")


def fails(folder: Path) -> str:
    raise UserError(f"no room in\n{folder.parent}")


@pytest.mark.usefixtures("quick")
def test_a_failed_stage_is_one_line_and_those_after_it_are_skipped(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = {"render": lambda folder: "output of a command\n", "extract": fails, "train": fails}
    monkeypatch.setattr(doctor, "STAGES", stages)
    with pytest.raises(SomeFailed, match="extract"):
        doctor.main(composed("doctor"), tmp_path)
    report = json.loads((tmp_path / "doctor.json").read_text())
    found = {stage["stage"]: stage for stage in report["selftest"]}
    assert [stage["status"] for stage in found.values()] == ["ok", "failed", "skipped"]
    assert found["extract"]["error"].endswith("(UserError)")
    assert found["render"]["seconds"] >= 0
    assert found["train"]["seconds"] is None
    printed = capsys.readouterr().out
    assert "output of a command" not in printed
    log = (tmp_path / "selftest.log").read_text()
    assert "output of a command" in log
    assert "Traceback" in log
    # the terminal says the same, in lines of another length
    assert sorted((tmp_path / "doctor.txt").read_text().split()) == sorted(printed.split())


def test_a_command_that_fails_is_reported_by_its_line_about_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fake.py").write_text("import sys; print('much\\nerror: disk\\nhint'); sys.exit(2)")
    monkeypatch.setattr(doctor, "SCRIPTS", tmp_path)
    monkeypatch.setattr(doctor, "STAGES", {"fake": partial(doctor.run_command, "fake", ("key=value",))})
    output = StringIO()
    (stage,) = doctor.run_stages(tmp_path, output)
    assert (stage["status"], stage["error"]) == ("failed", "error: disk (CalledProcessError)")
    assert output.getvalue() == "much\nerror: disk\nhint\n"


@pytest.mark.usefixtures("quick")
def test_without_the_self_test_the_report_is_complete(composed: Composed, tmp_path: Path) -> None:
    doctor.main(composed("doctor", "selftest=false"), tmp_path)
    report = json.loads((tmp_path / "doctor.json").read_text())
    assert report["selftest"] == []
    assert report["system"]["W&B"].startswith("offline")
    assert {"torch", "av", "decord"} <= set(report["libraries"])
    assert "self-test" not in (tmp_path / "doctor.txt").read_text()
    with pytest.raises(UserError, match="selftest=maybe"):
        doctor.main(composed("doctor", "selftest=maybe"), tmp_path)


def test_problems_are_noted_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {"numpy": "1.0 is outside >=2", "rich": "14.0"}
    codecs = FINE | {"HEVC": FINE["HEVC"] | {"deepfake": "it broke"}}
    assert doctor.find_problems(libraries, codecs) == [
        "numpy 1.0 is outside >=2: uv sync",
        "HEVC cannot be read: it broke",
    ]
    usage = type("Usage", (), {"free": 64e6, "total": 1e9})
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    _, problems = doctor.examine_system(tmp_path)
    assert problems[0] == "outputs: 0.1 GB free; make room"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_every_line_fits_the_terminal(width: int) -> None:
    report: dict[str, Any] = {
        "system": {"processor": "a processor with a long name, 2 of 64 cores"},
        "libraries": {"torch": "2.15.0", "numpy": "is not installed"},
        "codecs": {"AV1": {"encode": "ok", "decord": "x " * 80}},
        "extras": {"app": "no-such-package is not installed; uv sync --extra app adds it"},
    }
    text = StringIO()
    TextConsole(file=text, width=width).print(doctor.facts_table(report))
    assert max(map(len, text.getvalue().splitlines())) <= width
    words = " ".join(text.getvalue().split())
    assert "torch 2.15.0" in words
    if width > 40:
        assert "2 of 64 cores" in words


def test_versions_outside_the_range_and_missing_packages_are_named() -> None:
    assert check_version(Requirement("numpy>=1")) == NUMPY
    assert check_version(Requirement("numpy<1")) == f"{NUMPY} is outside <1"
    assert check_version(Requirement("no-such-package>=2")) == "is not installed"


def test_what_is_required_always_and_by_an_extra_is_distinguished(monkeypatch: pytest.MonkeyPatch) -> None:
    required = [
        "numpy<1",
        "rich>=1",
        "elsewhere; sys_platform == 'nowhere'",
        "no-such-package>=2; extra == 'app'",
        "rich>=1; extra == 'hpo'",
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: required)
    libraries, found = examine_packages()
    assert list(libraries) == ["numpy", "rich"]
    assert found["app"] == "no-such-package is not installed; uv sync --extra app adds it"
    assert found["hpo"] == "ok"
    assert examine_packages("no-such-package") == ({}, {})


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return try_codecs(tmp_path_factory.mktemp("videos"))


def test_what_pyav_can_encode_it_and_this_project_can_read(tried: dict[str, dict[str, str]]) -> None:
    for codec, (_, encoders) in CODECS.items():
        installed = any(encoder in av.codecs_available for encoder in encoders)
        assert (tried[codec]["encode"] == "ok") == installed
        if installed:
            assert (tried[codec]["PyAV"], tried[codec]["deepfake"]) == ("ok", "ok"), codec
    assert tried["H.264"] == dict.fromkeys(ATTEMPTS, "ok")
    assert tried["AV1"]["decord"] != "ok"
    assert "\n" not in tried["AV1"]["decord"]


def breaks(attempt: tuple[str, str]) -> str:
    if attempt == ("HEVC", "decord"):
        os._exit(3)
    if attempt == ("AV1", "PyAV"):
        import time

        time.sleep(60)
    return "ok"


def test_decoders_that_crash_or_hang_are_named_and_all_others_are_tried(tmp_path: Path) -> None:
    found = try_codecs(tmp_path, breaks, timeout_s=2)
    assert "WorkerDied" in found["HEVC"].pop("decord")
    assert "TimeLimitReached" in found["AV1"].pop("PyAV")
    assert {answer for answers in found.values() for answer in answers.values()} == {"ok"}


def test_frames_that_come_back_wrong_or_missing_are_no_success(tmp_path: Path) -> None:
    assert try_codec(tmp_path, ("MPEG-4", "encode")) == try_codec(tmp_path, ("MPEG-4", "PyAV")) == "ok"
    waves = moving_waves()
    with pytest.raises(RuntimeError, match=r"7 .* 8"):
        compare(waves[1:], waves)
    with pytest.raises(RuntimeError, match=r"frame \d .* of 255"):
        compare([np.roll(frame, 40, axis=1) for frame in waves], waves)
    with pytest.raises(RuntimeError, match="not tried"):
        try_codec(tmp_path, ("H.264", "PyAV"))


@pytest.fixture
def anna(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with a home, a user, a key and a token."""
    for name, value in {
        "HOME": "/home/anna",
        "LOGNAME": "anna",
        "WANDB_API_KEY": "0123456789abcdef",
        "HF_TOKEN": "hf_0123456789abcdef",
        "USE_AUTH": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert (str(Path.home()), getpass.getuser()) == ("/home/anna", "anna")


@pytest.mark.usefixtures("anna")
@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("key 0123456789abcdef is wrong", "key <secret> is wrong"),
        ("hf_0123456789abcdef", "<secret>"),
        ("http://me:pass@proxy:8080/x", "http://<secret>@proxy:8080/x"),
        ("/home/anna/videos/a.mp4: no such file", "~/videos/a.mp4: no such file"),
        ("/home/anna", "~"),
        ("/home/annabel/a.mp4", "/home/annabel/a.mp4"),
        ("/data/anna/a.mp4 of anna", "/data/<user>/a.mp4 of <user>"),
        ("data.anna=1, savanna, anna_2", "data.anna=1, savanna, anna_2"),
        ("true", "true"),
    ],
)
def test_secrets_home_and_user_are_replaced(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed
    assert scrub({text: [(text, 3)], "none": None}) == {scrubbed: [[scrubbed, 3]], "none": None}


@pytest.mark.usefixtures("quick")
def test_no_secret_and_no_home_is_in_any_file(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "annabella")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")

    def tells(folder: Path) -> str:
        raise OSError(f"{tmp_path}/x of annabella: 0123456789abcdef")

    run_dir = tmp_path / "run"
    run_dir.mkdir()
    monkeypatch.setattr(doctor, "STAGES", {"render": tells})
    with pytest.raises(SomeFailed):
        doctor.main(composed("doctor"), run_dir)
    texts = [path.read_text() for path in run_dir.iterdir()] + [capsys.readouterr().out]
    assert len(texts) == 4
    for text in texts:
        assert not [secret for secret in (str(tmp_path), "annabella", "0123456789") if secret in text]
    assert "~/x of <user>: <secret>" in " ".join(texts[-1].split())


@pytest.mark.slow
def test_all_commands_work_on_two_tiny_videos(composed: Composed, tmp_path: Path) -> None:
    doctor.main(composed("doctor"), tmp_path)
    report = json.loads((tmp_path / "doctor.json").read_text())
    assert [(stage["stage"], stage["status"]) for stage in report["selftest"]] == [
        (name, "ok") for name in ("render", "extract", "train", "evaluate", "predict")
    ]
