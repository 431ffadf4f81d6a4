"""From a script to its task: Hydra composes the config, the task runs, errors become one line and a status.

Nothing heavy is imported before the config is whole, so that --help and --cfg job answer at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from deepfake.errors import SomeFailed, Stopped, UserError

CONF = Path(__file__).parents[1] / "conf"
PATHS = (
    "checkpoint",
    "resume",
    "weights",
    "input",
    "data.root",
    "data.store",
    "data.ffpp_root",
    "data.split_dir",
    "data.identities",
)
NOISES = (
    "LeafSpec",
    "set_vital",
    "does not have many workers",
    "Checkpoint directory .* exists",
    "recommended to use .*sync_dist",  # every process has the same metrics
)
DONE, INPUTS_FAILED, USAGE_ERROR, INTERRUPTED = 0, 1, 2, 130

log = logging.getLogger(__name__)


def run_folder(task: str, now: str, resume: str | None) -> str:
    """Where a run writes: the resumed run's own folder, else a new one under outputs/<task>."""
    return str(Path(resume).parent.parent) if resume else f"outputs/{task}/{now}"


def run(task: str) -> NoReturn:
    """Run deepfake.tasks.<task>.main(config, run folder) as the command line asks, and exit."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask PyPI for a newer one of itself
    sys.argv[1:] = [quoted(argument) for argument in sys.argv[1:]]
    statuses: list[int] = []

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=task)
    def job(cfg: DictConfig) -> Any:
        statuses.append(DONE)
        try:
            main = import_module(f"deepfake.tasks.{task}").main
            quieten()
            return main(cfg, Path(HydraConfig.get().runtime.output_dir))
        except UserError as err:
            log.error("error: %s", err)
            statuses[-1] = USAGE_ERROR
        except (SomeFailed, Stopped) as err:
            log.error("%s", err)
            statuses[-1] = INPUTS_FAILED
        except KeyboardInterrupt:
            log.error("interrupted: whatever was finished is kept, run the same command again to go on")
            raise SystemExit(INTERRUPTED) from None
        if elsewhere():
            raise SystemExit(statuses[-1])
        return None

    try:
        job()
    except SystemExit as stop:
        if not statuses and stop.code == 1:  # Hydra refused the command line itself
            sys.exit(USAGE_ERROR)
        raise
    sys.exit(max(statuses, default=DONE))


def quoted(argument: str) -> str:
    """A path's override as Hydra's grammar wants it: checkpoint=a/epoch=003.ckpt needs quotes."""
    key, equals, value = argument.partition("=")
    plain = value[:1] not in ("[", "'", '"') and "'" not in value and "\\" not in value
    return f"{key}='{value}'" if equals and key in PATHS and value and "=" in value and plain else argument


def quieten() -> None:
    """Keep libraries' adverts and deprecations off the terminal; Lightning sets its level on import."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for noise in NOISES:
        warnings.filterwarnings("ignore", message=f".*{noise}")


def elsewhere() -> bool:
    """Whether this job of a sweep runs in a process of its own, which must report its status itself."""
    config = HydraConfig.get()
    return config.mode == RunMode.MULTIRUN and "BasicLauncher" not in config.launcher["_target_"]
