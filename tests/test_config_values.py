"""Every key refuses what it may not hold, in one line with the key, the value and what is allowed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from deepfake.cli import register_resolvers
from deepfake.config_values import SHARE, check_values, explain_refusal, leaves, rule_of, show, whole
from deepfake.errors import UserError

CONF = Path(__file__).parents[1] / "conf"
COMMANDS = (
    "train",
    "extract",
    "evaluate",
    "predict",
    "robustness",
    "compare",
    "export",
    "app",
    "audit",
    "augment",
)
GROUPS = ("model", "data", "augment", "schedule", "averaging", "trainer", "logger", "parallel", "faces")
WRONG = ("a nonsense word", -3, 0, 2, 10**30, float("nan"), float("inf"), True, [], [1, "x"], None, 0.5)
CHECKED_BY_CONSTRUCTORS = ("augment.transforms", "augment.restyle", "augment.then", "data.corpus")


def choices(group: str) -> list[str]:
    return [path.stem for path in sorted((CONF / group).glob("*.yaml")) if path.stem[0] != "_"]


@pytest.fixture(scope="module")
def configs() -> Iterator[dict[str, DictConfig]]:
    """Each command's default config, and that of train with each choice of each group."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = {command: compose(command) for command in COMMANDS}
        for group in GROUPS:
            composed |= {
                f"train {group}={name}": compose("train", [f"{group}={name}"]) for name in choices(group)
            }
        yield composed


def own_leaves(cfg: DictConfig) -> dict[str, Any]:
    return {
        key: value
        for key, value in leaves(cfg)
        if not key.endswith(("._target_", "._partial_")) and not key.startswith(CHECKED_BY_CONSTRUCTORS)
    }


def refusal(cfg: DictConfig) -> str | None:
    try:
        check_values(cfg)
    except UserError as err:
        return str(err)
    return None


def test_every_shipped_value_is_allowed_and_every_key_has_a_rule(configs: dict[str, DictConfig]) -> None:
    for cfg in (compose("benchmark"), compose("doctor")):
        check_values(cfg)
    for name, cfg in configs.items():
        check_values(cfg)
        assert not [key for key in own_leaves(cfg) if rule_of(key) is None], name


def test_every_key_refuses_wrong_values_and_names_itself(configs: dict[str, DictConfig]) -> None:
    refused: dict[str, int] = {}
    for cfg in configs.values():
        for key, shipped in own_leaves(cfg).items():
            if key in refused:
                continue
            refused[key] = 0
            for value in WRONG:
                OmegaConf.update(cfg, key, value)
                said = refusal(cfg)
                OmegaConf.update(cfg, key, shipped)
                if said is not None:
                    assert said.startswith(f"{key}={show(value)}: must be ")
                    assert "\n" not in said
                    refused[key] += 1
    print(f"{len(refused)} keys, {sum(refused.values())} refusals")
    anything = [key for key, count in refused.items() if count == 0]
    assert anything == ["logger.wandb.tags"]
    assert len(refused) > 150


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        ("train", "window_rule=min"),
        ("train", "track_rule=null"),
        ("train", "threshold_rule=best"),
        ("train", "target_fpr=1.5"),
        ("predict", "track_rule=loudest"),
        ("export", "format=tflite"),
        ("evaluate", "split=all"),
        ("robustness", "levels=[0]"),
        ("robustness", "split=testing"),
        ("compare", "rate=auc"),
        ("augment", "num_cards=0"),
        ("app", "max_mb=0"),
        ("app", "max_seconds=-1"),
        ("app", "keep_minutes=soon"),
        ("app", "num_workers=0"),
        ("app", "explain=perhaps"),
    ],
)
def test_a_wrong_word_or_number(configs: dict[str, DictConfig], command: str, setting: str) -> None:
    cfg = OmegaConf.merge(configs[command], OmegaConf.from_dotlist([setting]))
    assert isinstance(cfg, DictConfig)
    said = refusal(cfg)
    assert said is not None
    assert said.startswith(f"{setting.replace(' ', '')}: ")


@pytest.mark.parametrize(
    ("rule", "fits", "fails"),
    [
        (SHARE, [0, 1, 0.5], [-0.1, 1.1, True, "0.5", None, float("nan")]),
        (whole(1, 5), [1, 5], [0, 6, 1.0, True, "1", None]),
        (whole(1).or_null(), [None], [0]),
        (whole(1).or_word("all"), ["all", 1], ["none", 0]),
    ],
)
def test_rules(rule: Any, fits: list[Any], fails: list[Any]) -> None:
    assert not [value for value in fits if rule.refusal(value, checkpoint=False)]
    assert not [value for value in fails if not rule.refusal(value, checkpoint=False)]


def test_null_means_as_trained_only_where_there_is_a_checkpoint(configs: dict[str, DictConfig]) -> None:
    for command, allowed in ("predict", True), ("train", False):
        cfg = OmegaConf.merge(configs[command], {"faces": {"margin": None}})
        assert isinstance(cfg, DictConfig)
        if allowed:
            check_values(cfg)
        else:
            with pytest.raises(UserError, match=r"faces\.margin=null"):
                check_values(cfg)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Could not override 'model.windw'.\nTo append to your config use +model.windw=1", "model.window?"),
        ("Could not override 'nothing.like.it'.\nTo append", "--help"),
        (
            "In 'train': Could not find 'model/mesoo'\n\nAvailable options in 'model':\n\tmeso\n\t_base\n",
            "meso?",
        ),
    ],
)
def test_a_misspelt_key_or_choice_gets_the_nearest_one(said: str, told: str) -> None:
    line = explain_refusal(said, lambda: ["model.window", "model.net", "seed"])
    assert told in line
    assert "+" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("task", "arguments", "named"),
    [
        ("train", ["model.window=0"], "model.window=0"),
        ("train", ["label_smoothing=2"], "label_smoothing=2"),
        ("train", ["trainer.max_epochs=-3"], "trainer.max_epochs=-3"),
        ("train", ["trainer.max_epochs=abc"], "trainer.max_epochs=abc"),
        ("train", ["model.optimizer.lr=-1"], "model.optimizer.lr=-1"),
        ("extract", ["parallel.num_workers=-1"], "parallel.num_workers=-1"),
        ("predict", ["checkpoint=x.ckpt", "input=y.mp4", "threshold=7"], "threshold=7"),
        ("app", ["checkpoint=x.ckpt", "port=99999"], "port=99999"),
        ("evaluate", ["checkpoint=nowhere.ckpt"], "checkpoint=nowhere.ckpt"),
        ("train", ["model.windw=2"], "model.window"),
        ("train", ["data.batchsize=2"], "data.batch_size"),
        ("train", ["-m", "model.windw=1,2"], "model.window"),
        ("train", ["seed=${nope}"], "nope"),
    ],
)
def test_a_command_says_it_in_one_line_before_torch_is_imported(
    task: str, arguments: list[str], named: str, tmp_path: Path
) -> None:
    script = CONF.parent / "scripts" / f"{task}.py"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(script), *arguments, f"hydra.run.dir={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    lines = [line for line in (*done.stdout.splitlines(), *said) if line.strip()]
    assert done.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert named in lines[0]
    assert "| torch\n" not in done.stderr


def test_jobs_of_a_sweep_after_a_refused_one_run(tmp_path: Path) -> None:
    script = str(CONF.parent / "scripts" / "compare.py")
    done = commands.run(
        [script, "-m", "resamples=-1,-2", "runs=x", f"hydra.sweep.dir={tmp_path}"], timeout=60
    )
    assert done.returncode == 2
    assert "resamples=-1" in done.stdout
    assert "resamples=-2" in done.stdout
