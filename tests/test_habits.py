"""What people and machines run day by day says the same in every place."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import deepfake

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OWN = (
    ".pre-commit-config.yaml",
    ".github/workflows/ci.yml",
    ".github/ISSUE_TEMPLATE/bug.yml",
    "CITATION.cff",
)


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def commands(text: str) -> list[str]:
    return re.findall(r"uv run --no-sync .*", text)


def recipe(target: str) -> list[str]:
    """What a target of the Makefile runs."""
    body = re.search(rf"^{target}:\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert body, f"the Makefile has no {target}"
    return [line.strip() for line in body[1].splitlines()]


def test_the_makefile_the_workflow_and_the_ci_script_run_the_same_commands() -> None:
    script = commands((ROOT / ".ci" / "run").read_text())
    assert [command.split()[3] for command in script] == ["ruff", "ruff", "mypy", "pytest"]
    assert recipe("lint") + recipe("types") + recipe("test") == script
    (job,) = load(".github/workflows/ci.yml")["jobs"].values()
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert steps == ["uv sync --quiet", *script]
    assert recipe("cov")[0].startswith(script[-1])


def test_the_commit_hooks_are_the_lint_and_type_commands() -> None:
    (repo,) = load(".pre-commit-config.yaml")["repos"]
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
    hooks = [hook["entry"].split()[3:5] for hook in repo["hooks"]]
    assert hooks == [command.split()[3:5] for command in recipe("lint") + recipe("types")]


def test_every_target_of_the_makefile_is_declared_phony_since_folders_have_such_names() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE) == [" ".join(targets)]


def test_the_version_is_one() -> None:
    version = PROJECT["project"]["version"]
    assert deepfake.__version__ == version
    assert load("CITATION.cff")["version"] == version
    assert load("CITATION.cff")["license"] == PROJECT["project"]["license"]


def test_the_oldest_python_is_one() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    (job,) = load(".github/workflows/ci.yml")["jobs"].values()
    assert job["strategy"]["matrix"]["python"][0] == oldest


@pytest.mark.parametrize("name", OWN)
def test_files_that_other_programs_read_are_yaml_of_lists_and_mappings(name: str) -> None:
    assert isinstance(load(name), dict)


def test_every_script_has_a_config_of_its_name_and_every_config_a_script() -> None:
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert scripts == {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    for name in scripts:
        assert f'run("{name}"' in (ROOT / "scripts" / f"{name}.py").read_text()
        assert load(f"conf/{name}.yaml")["hydra"]["job"]["name"] == name


def test_a_bug_report_asks_for_what_the_doctor_writes() -> None:
    from deepfake.tasks.doctor import TEXT

    fields = {field["id"]: field for field in load(".github/ISSUE_TEMPLATE/bug.yml")["body"]}
    asked = fields["doctor"]["attributes"]["description"]
    assert "scripts/doctor.py" in asked
    assert TEXT in asked
    assert fields["doctor"]["validations"]["required"]


def test_nothing_that_is_run_or_built_is_kept_in_git() -> None:
    kept = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-ci", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    if kept.returncode:
        pytest.skip("this is no git checkout")
    assert kept.stdout.split() == []
