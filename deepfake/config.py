"""The one door from config to objects."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import isclass, isroutine
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from deepfake.errors import UserError, chain_of

ALLOWED = ("deepfake.", "benchmarks.", "albumentations.", "timm.", "torch.optim.", "pytorch_lightning.")
EXTRAS = {
    "tensorboard": "tensorboard",
    "captum": "explain",
    "onnx": "export",
    "starlette": "app",
    "uvicorn": "app",
    "optuna": "hpo",
}
"""Optional packages and the extra that installs each."""
NETS = ("deepfake.models.", "deepfake.records.InputSpec")
"""All that a detector is made of; a net in a checkpoint, which may be from anybody, is of these alone."""


def build(
    config: DictConfig | Mapping[str, Any], *, only: tuple[str, ...] = ALLOWED, key: str = "", **values: Any
) -> Any:
    """The object that a config describes by its _target_; values are added to its arguments.

    key: of this config, for messages. only: how the names of what may be built begin; NETS are classes,
    others functions too. Raises UserError if a constructor refuses a value, and if any _target_ in it, at any
    depth, is another name, or one that was only imported there, such as deepfake.models.mesonet.torch.save.
    """
    plain = to_plain(config)
    for target in _targets(plain):
        _check_target(target, only)
    try:
        return instantiate(plain, _convert_="all", **values)
    except InstantiationException as err:
        refusal = _refusal(err, key)
    raise refusal  # outside the handler: an error in its own chain of causes would make that chain a ring


def _refusal(err: InstantiationException, key: str) -> Exception:
    """What a constructor said when it refused a value, without Hydra's wrapping where a user can cause it."""
    causes = list(chain_of(err))
    for cause in causes:
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, ModuleNotFoundError):
            return UserError(f"{' '.join(str(cause).split())}{extra_of(str(cause))}")
    refused = len(causes) > 1 and (
        isinstance(causes[1], ValueError | RuntimeError | TypeError)
        or type(causes[1]).__name__ == "MisconfigurationException"  # Lightning's
    )
    if refused:
        refusal = UserError((f"{key}: " if key else "") + " ".join(str(causes[1]).split()))
        refusal.__cause__ = err
        return refusal
    return err


def extra_of(text: str) -> str:
    """How to install the package that a text misses, if it belongs to an extra."""
    found = next((extra for package, extra in EXTRAS.items() if package in text), None)
    return f": uv sync --extra {found}" if found else ""


def to_plain(config: Any) -> Any:
    """Dicts, lists and values without interpolations; raises UserError naming a key that has no value."""
    if not OmegaConf.is_config(config):
        return config
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (MissingMandatoryValue, InterpolationToMissingValueError) as err:
        # an interpolation to a missing value names itself in full_key and the value in its text
        named = isinstance(err, MissingMandatoryValue)
        key = err.full_key if named else str(err).partition("Missing mandatory value: ")[2].split()[0]
        raise UserError(f"no value for {key}: add {key}=… to the command") from err
    except OmegaConfBaseException as err:  # an interpolation that leads nowhere
        raise UserError(f"{err.full_key}: {str(err).splitlines()[0]}") from err


def _check_target(target: str, only: tuple[str, ...]) -> None:
    """Raise UserError unless a _target_ names a class (or a function) that is defined where it is allowed."""
    refusal = f"_target_ {target!r} refused"
    if not target.startswith(only):
        raise UserError(f"{refusal}: only names under {', '.join(only)} are built")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except ModuleNotFoundError as err:
        if not f"{module}.".startswith(f"{err.name}."):  # an extra that is not installed
            raise
        raise UserError(f"{refusal}: there is no module {module}") from err
    except AttributeError as err:
        raise UserError(f"{refusal}: there is nothing of that name in {module}") from err
    home = f"{getattr(found, '__module__', None)}.{getattr(found, '__name__', None)}"
    if not home.startswith(only) or not (isclass(found) or (only is not NETS and isroutine(found))):
        raise UserError(f"{refusal}: it is no class{'' if only is NETS else ' or function'} of that package")


def _targets(node: Any) -> list[str]:
    """Every _target_ in a config; raises UserError for an interpolation, which could become another one."""
    if isinstance(node, str) and "${" in node:
        raise UserError(f"{node!r} refused: values in which ${{…}} is left are not built")
    if isinstance(node, Mapping):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in _targets(value)]
    if isinstance(node, list | tuple):
        return [target for value in node for target in _targets(value)]
    return []
