"""The commands that README.md, CONTRIBUTING.md and docs/ print: their keys exist, and they run as printed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from playable_datasets import make_datasets
from requirements import fail_where_required

from deepfake.cli import quote_paths, register_resolvers

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
SCRIPT = re.compile(r"scripts/(\w+)\.py(.*)")
SETTING = re.compile(r"([a-z_]+(?:[./][a-z_]+)*)=(\S*)")
CHOICE_FILE = re.compile(r"# (conf/\S+\.yaml)\n")
SHELLS = ("", "sh", "bash", "console")
PLACEHOLDERS = ("…", "/path", "FILE", "RUN", "NAME", "<", "A.ckpt", "=/a ", "Meso", "host:", "clips", "a.mp4")
"""What stands for something of the reader's own."""

SHORTENED = {
    "model.window=1,4,8": "three trainings: one epoch each",
    "logger=wandb": "a training: one epoch",
    "logger=tensorboard": "a training: one epoch; the server that follows it would never end",
}
"""Commands with this in them are run for one epoch, and why."""

LEFT_OUT = {
    "pip install": "downloads the environment, for what is run below or is .ci/run",
    "scripts/app.py": "runs until it is ended",
    "scripts/benchmark.py": "minutes to hours; its targets have tests of their own",
    "experiment=": "trains for many epochs",
    "data=toy": "made of what test_extension.py adds",
    "augment=flip": "made of what test_extension.py adds",
}
"""Commands with this in them are not run as they are, and why."""

LEFT_ALONE = {
    "pip install": LEFT_OUT["pip install"],
    "scripts/benchmark.py": LEFT_OUT["scripts/benchmark.py"],
    "data=toy": LEFT_OUT["data=toy"],
    "augment=flip": LEFT_OUT["augment=flip"],
    "srun": "several machines; test_processes.py has several processes",
    "torchrun": "several machines",
    "parallel.address": "a Dask cluster; test_cluster.py has one",
    "study=": "goes on with a search; test_sweep.py does",
    "<root>": "as in the README, with a path",
}
"""Commands with this in them are not run with small datasets and files either, and why."""

AT_ONCE = "trainer=cpu trainer.max_epochs=1 data.windows_per_video=1 data.batch_size=8"
"""A short training."""


class Command(NamedTuple):
    """A line of a document that calls a script: where it stands, the line, the script and its arguments."""

    document: str
    line: str
    task: str
    arguments: tuple[str, ...]


def lines_of(text: str) -> Iterator[str]:
    """Lines of code blocks for a shell, fenced or indented, and pieces of code within sentences."""
    for language, block in FENCED.findall(text):
        if language in SHELLS:
            yield from block.splitlines()
    prose = FENCED.sub("", text)
    yield from (line[4:] for line in prose.splitlines() if line.startswith("    "))
    yield from INLINE.findall(prose)


def parse(document: str, line: str) -> Command | None:
    """The call of a script in a line, without what follows it: a comment, && or |."""
    found = SCRIPT.search(line)
    if not found or not re.search(r"(^|\s)(python|torchrun)\s", line):
        return None
    lexer = shlex.shlex(found[2], posix=True, punctuation_chars="&|")
    lexer.whitespace_split, lexer.commenters = True, "#"
    arguments: list[str] = []
    for token in lexer:
        if set(token) <= set("&|"):
            break
        arguments.append(token)
    return Command(document, line.partition("  #")[0].strip(), found[1], tuple(arguments))


COMMANDS = [
    command
    for document in DOCUMENTS
    for line in lines_of((ROOT / document).read_text())
    if (command := parse(document, line))
]


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configs of the project, with those that a document shows how to add."""
    register_resolvers()
    copy = tmp_path_factory.mktemp("conf")
    shutil.copytree(ROOT / "conf", copy / "conf")
    for document in DOCUMENTS:
        for _, block in FENCED.findall((ROOT / document).read_text()):
            if name := CHOICE_FILE.match(block):
                (copy / name[1]).write_text(block)
    return copy / "conf"


def compose_job(conf: Path, task: str, overrides: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose(task, overrides, return_hydra_config=True)


def filled(argument: str) -> str:
    """An argument with something in place of a placeholder; of a group's choices the first that fits."""
    key, equals, value = argument.partition("=")
    if "…" in value and (ROOT / "conf" / key).is_dir():
        value = min((ROOT / "conf" / key).glob(value.replace("…", "*") + ".yaml")).stem
    return key + equals + re.sub("<[^>]*>|…", "X", value)


def jobs_of(command: Command) -> Iterator[list[str]]:
    """The overrides of jobs that a command starts, so that each choice of a group is among them once.

    What stands for anything at all is left out.
    """
    several = bool({"-m", "--multirun"} & set(command.arguments))
    given = [
        quote_paths(filled(argument), sweeping=several)
        for argument in command.arguments
        if not argument.startswith("-") and argument.partition("=")[2] != "…" and argument != "…"
    ]
    choices = []
    for override in OverridesParser.create().parse_overrides(given):
        line = override.input_line or ""
        key = line.partition("=")[0]
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
        values = values if (ROOT / "conf" / key).is_dir() else values[:1]
        choices.append([f"{key}={value}" for value in values] or [line])
    for number in range(max((len(lines) for lines in choices), default=1)):
        yield [lines[min(number, len(lines) - 1)] for lines in choices]


def test_every_document_s_commands_are_found() -> None:
    found = {command.document for command in COMMANDS}
    assert found >= {"README.md", "docs/training.md", "docs/prediction.md", "docs/extraction.md"}
    assert len(COMMANDS) > 40
    for command in COMMANDS:
        assert (ROOT / "scripts" / f"{command.task}.py").is_file(), command.line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_keys_and_choices_of_every_command_exist(conf: Path, document: str) -> None:
    wrong = []
    for command in dict.fromkeys(found for found in COMMANDS if found.document == document):
        try:
            for overrides in jobs_of(command):
                compose_job(conf, command.task, overrides)
        except Exception as err:
            wrong.append(f"{command.line}\n    {' '.join(str(err).split())}")
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_setting_within_a_sentence_exists(defaults: list[DictConfig], document: str) -> None:
    prose = FENCED.sub("", (ROOT / document).read_text())
    wrong = []
    for code in INLINE.findall(prose):
        for key, value in SETTING.findall(code if " " not in code else ""):
            group, choice = ROOT / "conf" / key, value.strip("…")
            if code.startswith("+"):
                known = True  # a key that is added
            elif group.is_dir():
                known = not choice or "," in choice or (group / f"{choice}.yaml").is_file()
            else:
                known = any(has_key(cfg, key) for cfg in defaults)
            if not known:
                wrong.append(code)
    assert wrong == []


@pytest.fixture(scope="module")
def defaults(conf: Path) -> list[DictConfig]:
    """What each task is given by default, and by the choices that bring keys of their own."""
    more = [
        "schedule=plateau averaging=ema logger=wandb augment=perturb data=ffpp hydra/launcher=processes",
        "averaging=swa augment=selfblend data=deeperforensics hydra/launcher=slurm",
        "data=joint experiment=search",
    ]
    jobs = [(path.stem, "") for path in sorted(conf.glob("*.yaml"))] + [
        ("train", choices) for choices in more
    ]
    return [compose_job(conf, task, choices.split()) for task, choices in jobs]


def has_key(cfg: DictConfig, key: str) -> bool:
    """Whether a config has a key, with a value or without."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent, throw_on_missing=False) if parent else cfg
    return isinstance(node, DictConfig) and name in node.keys()  # noqa: SIM118 (in leaves out those without a value)


def runnable() -> list[str]:
    """Lines that need neither a dataset nor the reader's own files, in the order of the documents."""
    lines = dict.fromkeys(command.line for command in COMMANDS)
    return [line for line in lines if not any(mark in f"{line} " for mark in (*PLACEHOLDERS, *LEFT_OUT))]


class Newcomer(NamedTuple):
    """Who has a fresh clone, an empty home and nothing else."""

    clone: Path
    home: Path

    def types(self, line: str) -> None:
        """Run a line in the clone; fails unless it ends well."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": str(self.home), "PYTHONPATH": str(self.clone), "LANG": "C.UTF-8"}
        environment["WANDB_MODE"] = "offline"  # in place of an account
        for name in ("ffpp", "celebdf"):
            environment[f"{name.upper()}_ROOT"] = str(self.home / "datasets" / name)
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    clone, home = tmp_path / "clone", tmp_path / "home"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    home.mkdir()
    return Newcomer(clone, home)


@pytest.mark.slow
def test_what_needs_no_dataset_runs_as_printed_in_a_fresh_clone(newcomer: Newcomer) -> None:
    commands = runnable()
    assert len(commands) >= 3
    for line in commands:
        short = any(part in line for part in SHORTENED)
        newcomer.types(line.partition("&&")[0] + (" trainer.max_epochs=1" if short else ""))


@pytest.mark.slow
def test_what_needs_datasets_and_files_of_one_s_own_runs_as_printed_with_small_ones(
    newcomer: Newcomer,
) -> None:
    make_datasets(newcomer.home / "datasets")
    clip = newcomer.home / "datasets" / "folder" / "fake" / "swap" / "0.mp4"
    (newcomer.clone / "clips").mkdir()
    (newcomer.clone / "cases" / "one").mkdir(parents=True)
    for name in ("a.mp4", "clips/b.mp4", "cases/one/c.mp4", "cases/one/d.mov"):
        shutil.copy(clip, newcomer.clone / name)
    (newcomer.clone / "list.txt").write_text("clips/b.mp4\n")
    weights = ROOT.parent / "shared" / "weights" / "mesonet"
    if not weights.is_dir():
        fail_where_required(f"{weights} is not here")
    lines = dict.fromkeys(command.line for command in COMMANDS)
    left = [line for line in lines if line not in runnable() and not any(mark in line for mark in LEFT_ALONE)]
    assert len(left) >= 25
    newcomer.types(
        f"python scripts/train.py hydra.run.dir=outputs/train/own data=ffpp {AT_ONCE}"
    )  # FFPP_ROOT
    for line in left:
        if ".h5" in line and not weights.is_dir():
            continue
        newcomer.types(with_own_files(line, newcomer, weights))


def with_own_files(line: str, newcomer: Newcomer, weights: Path) -> str:
    """A printed line with every placeholder filled in; a training is of one short epoch, an app ends soon."""
    line = line.replace("data=… data.root=…", "data=folder data.root=/path").replace("data=…", "data=ffpp")
    datasets = newcomer.home / "datasets"
    chosen = re.search(r"data=(\w+)", line)
    own = datasets / {"deeperforensics": "dfo"}.get(chosen[1], chosen[1]) if chosen else datasets
    line = re.sub(r"data\.root=\S+", f"data.root={own}", line)
    line = re.sub(
        r"ffpp_root=\S+|ffpp\.root=\S+",
        lambda found: f"{found[0].partition('=')[0]}={datasets / 'ffpp'}",
        line,
    )
    line = re.sub(r"celebdf\.root=\S+", f"celebdf.root={datasets / 'celebdf'}", line)
    best = "outputs/train/own/checkpoints/best.ckpt"
    for placeholder, instead in {
        "train/RUN": "train/own",
        "A.ckpt,B.ckpt": f"{best},{best.replace('best', 'last')}",
        "FILE.ckpt": best,
        "FILE_OR_FOLDER": "clips",
        "demo_…": "demo_meso",
        "seed=N": "seed=1",
        "n_trials=30": "n_trials=3",
        "Meso4_DF.h5": str(weights / "Meso4_DF.h5"),
        "MesoInception_DF.h5": str(weights / "MesoInception_DF.h5"),
        "sweep_…": newest(newcomer.clone, "outputs/train/sweep_*"),
        "export/RUN": f"export/{newest(newcomer.clone, 'outputs/export/*')}",
        "predict/NAME": f"predict/{newest(newcomer.clone, 'outputs/predict/*')}",
    }.items():
        line = line.replace(placeholder, instead)
    if "resume=outputs/train" in line:  # as printed there: repeat its overrides
        line = f"{line} data=ffpp data.root={datasets / 'ffpp'}"
    if "scripts/train.py" in line:
        return f"{line} {AT_ONCE}"
    return f"timeout --preserve-status --signal=INT 60 {line} port=0" if "scripts/app.py" in line else line


def newest(folder: Path, pattern: str) -> str:
    """The name of the newest folder like this, so far."""
    return max((path.name for path in folder.glob(pattern)), default="none")
