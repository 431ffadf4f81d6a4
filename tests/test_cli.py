"""The scripts as a user calls them: answers at once, one line for a mistake, the right exit status."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from deepfake.cli import quote_paths

ROOT = Path(__file__).parents[1]
TASKS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))


def call(task: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / f"{task}.py"), *arguments]
    # Hydra takes a process whose coverage is measured for one in a debugger, and raises what it else tells
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=unmeasured)


HELP = """
import contextlib, io, json, sys
from deepfake.cli import run
printed = {}
for task in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for question in (["--help"], ["--cfg", "job"]):
            sys.argv[1:] = question
            try:
                run(task)
            except SystemExit as end:
                assert not end.code
    printed[task] = out.getvalue()
assert not {"torch", "pytorch_lightning", "timm", "cv2", "av"} & set(sys.modules)
print(json.dumps(printed))
"""


def test_help_and_config_are_answered_at_once_without_torch() -> None:
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", HELP], input=json.dumps(TASKS), capture_output=True, text=True, check=False
    )
    after = os.times()
    assert done.returncode == 0, done.stderr
    for task, printed in json.loads(done.stdout).items():
        assert f"python scripts/{task}.py" in printed
        assert f"outputs/{task}/<date_time>" in printed or f"scripts/{task}.py checkpoint=" in printed
        for key in OmegaConf.load(ROOT / "conf" / f"{task}.yaml"):
            assert key in ("defaults", "hydra") or f"\n{key}:" in printed
    spent_s = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    assert spent_s < 20  # of the processor, since a busy machine must not fail this; two answers of each task


def test_a_checkpoint_of_one_epoch_can_be_named_without_quotes() -> None:
    assert quote_paths("checkpoint=a/epoch=003.ckpt") == "checkpoint='a/epoch=003.ckpt'"
    for unchanged in ("model=meso", "seed=1", "-m", "--help", "resume=true", "resume=null", "input='a b'"):
        assert quote_paths(unchanged) == unchanged


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("clips/[1] a, b (c) {d} «ü» ~x=y.mp4", "clips/[1] a, b (c) {d} «ü» ~x=y.mp4"),
        ("it's.mp4", "it's.mp4"),
        ("a\\'b\\", "a\\'b\\"),
        ("~/clips/**/*.mp4", "~/clips/**/*.mp4"),
        ("@list.txt", "@list.txt"),
        ("[x].mp4", "[x].mp4"),
        ("[a=1.mp4, «ü»/b c.mp4,~/d.mp4]", ["a=1.mp4", "«ü»/b c.mp4", "~/d.mp4"]),
        ("['a, b.mp4',c.mp4]", ["a, b.mp4", "c.mp4"]),
        ("[]", []),
        ("'quoted, already.mp4'", "quoted, already.mp4"),
    ],
)
def test_a_path_means_itself_whatever_is_in_its_name(value: str, meant: object) -> None:
    parsed = OverridesParser.create().parse_override(quote_paths(f"input={value}"))
    assert parsed.value() == meant


def test_a_folder_with_the_name_of_a_list_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert quote_paths("input=[1,2]") == "input=['1','2']"
    (tmp_path / "[1,2]").mkdir()
    assert quote_paths("input=[1,2]") == "input='[1,2]'"


def test_several_checkpoints_of_a_sweep_are_quoted_one_by_one() -> None:
    given = "checkpoint=a/epoch=003.ckpt,b/best.ckpt"
    assert quote_paths(given, sweeping=True) == "checkpoint='a/epoch=003.ckpt','b/best.ckpt'"
    assert quote_paths(given) == "checkpoint='a/epoch=003.ckpt,b/best.ckpt'"


def test_a_resumed_run_goes_on_in_its_own_folder(command: Callable[..., Any], tmp_path: Path) -> None:
    done = command("train", f"resume={tmp_path}/checkpoints/last.ckpt")
    assert done.returncode == 2
    assert "no such file" in done.stdout
    assert (tmp_path / ".hydra" / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("train", ["data=folder", "data.root=nowhere"], "error: data.root=nowhere: no such folder"),
        ("train", ["data=folder"], "error: no value for data.root: add data.root=…"),
        ("evaluate", ["checkpoint=a/epoch=003.ckpt"], "error: checkpoint=a/epoch=003.ckpt: no such file"),
        ("evaluate", ["checkpoint=none.ckpt"], "error: checkpoint=none.ckpt: no such file"),
        ("compare", ["runs=none"], "error: runs=none: no such folder"),
        ("benchmark", ["target=speed"], "error: target=speed: must be one of extract, store"),
        ("predict", ["checkpoint=none.ckpt", "input=x.mp4"], "error: checkpoint=none.ckpt: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    command: Callable[..., Any], task: str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = command(task, *arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modle=meso"], "modle"),
        (["model=mesoo"], "mesoo"),
        (["-m", "hydra/launcher=none"], "uv sync --extra launch (joblib, submitit)"),
    ],
)
def test_a_command_line_that_hydra_refuses_is_named_with_status_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = call("train", *arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("model.window=0",),
        ("model.margin=0",),
        ("model=efficientnet", "model.name=nonsense"),
        ("augment=perturb", "augment.rate=5"),
    ],
)
def test_a_value_that_a_constructor_refuses_ends_the_command(
    command: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """The time limit of command is the claim: a ring of exceptions once kept the command at it for ever."""
    done = command("train", f"hydra.run.dir={tmp_path}", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1].startswith("error: ")
    assert arguments[-1].partition("=")[2] in done.stdout.splitlines()[-1]


ENCODINGS = (
    {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
)
PRINTS = """
import sys
from deepfake.cli import tolerant
sys.stdout, sys.stderr = tolerant(sys.stdout), tolerant(sys.stderr)
for stream in (sys.stdout, sys.stderr):
    for _ in range(20_000):
        print("epoch 1 \\u2501\\u2192 \\xfc \\U0001f600", file=stream)
open(sys.argv[1], "w").write("done")
"""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_text_can_be_printed_on_every_terminal(encoding: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, str(tmp_path / "done")],
        capture_output=True,
        check=True,
        env=os.environ | encoding,
    )
    assert done.stdout.count(b"epoch 1") == done.stderr.count(b"epoch 1") == 20_000
    assert (tmp_path / "done").is_file()


@pytest.mark.parametrize("redirect", ["2>&1 | head -1", ">&-", ">&- 2>&-", "> /dev/null"])
def test_a_reader_that_leaves_does_not_end_the_job(redirect: str, tmp_path: Path) -> None:
    line = f'"$0" -c "$1" "$2" {redirect}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", line, sys.executable, PRINTS, str(tmp_path / "done")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert "Error" not in done.stderr
    assert (tmp_path / "done").is_file()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_names_of_any_letters_reach_the_table_of_a_plain_terminal(
    encoding: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "ü→😀"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text("{monitor: val/loss, model: {window: 4}}\n")
    (run / ".hydra" / "hydra.yaml").write_text("hydra: {overrides: {task: []}, runtime: {choices: {}}}\n")
    (run / "metrics.json").write_text('{"test/video_auroc": 0.5}')
    script = [sys.executable, str(ROOT / "scripts" / "compare.py")]
    done = subprocess.run(
        [*script, f"runs={run}", f"hydra.run.dir={tmp_path / 'out'}"],
        capture_output=True,
        check=False,
        timeout=120,
        env=os.environ | encoding,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"0.5" in done.stdout
    assert "results in" in (tmp_path / "out" / "compare.log").read_text("utf-8")
