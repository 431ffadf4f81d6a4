"""The one door from config to objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue

from deepfake.errors import UserError

ALLOWED = ("deepfake.", "albumentations.", "timm.", "torch.optim.", "pytorch_lightning.")


def build(config: DictConfig | Mapping[str, Any], **values: Any) -> Any:
    """The object that a config describes by its _target_; values are added to its arguments.

    Raises UserError if any _target_ in it, at any depth, is not under the packages in ALLOWED: configs come
    out of checkpoints too.
    """
    plain = to_plain(config)
    for target in _targets(plain):
        if not target.startswith(ALLOWED):
            raise UserError(f"_target_ {target!r} refused: only names under {', '.join(ALLOWED)} are built")
    try:
        return instantiate(plain, _convert_="all", **values)
    except InstantiationException as err:
        cause: BaseException | None = err
        while cause is not None and not isinstance(cause, UserError | ModuleNotFoundError):
            cause = cause.__cause__
        raise cause or err from err


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


def _targets(node: Any) -> list[str]:
    if isinstance(node, Mapping):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in _targets(value)]
    if isinstance(node, list | tuple):
        return [target for value in node for target in _targets(value)]
    return []
