"""What a checkpoint may say of its detector, checked before anything is built: it may be from anybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from deepfake.errors import UserError

LARGEST = 65_536  # of any number in a recipe: pixels, frames, layers, hidden units
NAME = re.compile(r"[\w.+-]{1,200}")  # neither paths nor addresses nor ${…}
HYDRA_KEYS = ("_target_", "_partial_")
# arguments of timm that fetch or read a file; pretrained= is set to false
FETCHES = (
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "url",
    "file",
    "hf_hub_id",
    "cache_dir",
)


def check_plain(values: Any, place: str) -> None:
    """Raise UserError unless values are dicts and lists of names and of finite numbers up to LARGEST.

    place: the key that leads to them, for the message.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise UserError(f"{place} has a key that is no name: {name!r:.80}")
            check_plain(value, f"{place}.{name}")
    elif isinstance(values, list | tuple):
        for value in values:
            check_plain(value, place)
    elif isinstance(values, str):
        if not NAME.fullmatch(values):
            raise UserError(f"{place}={values!r:.80} refused: neither paths nor addresses belong there")
    elif isinstance(values, int | float):
        if not isfinite(values) or abs(values) > LARGEST:
            raise UserError(f"{place}={values!r:.80} refused: must be a number up to {LARGEST}")
    elif values is not None:
        raise UserError(f"{place} refused: {type(values).__name__} is no plain value")


def check_net(net: Any, place: str = "net") -> None:
    """Raise UserError unless a net is plain, of Hydra's keys has only HYDRA_KEYS, and fetches nothing."""
    if place == "net":
        check_plain(net, place)
    if isinstance(net, Mapping):
        for name, value in net.items():
            if name.startswith("_") and name not in HYDRA_KEYS:
                raise UserError(
                    f"{place}.{name} refused: of Hydra's keys only {', '.join(HYDRA_KEYS)} are known"
                )
            if name in FETCHES and value is not None:
                raise UserError(f"{place}.{name} refused: a checkpoint's own weights are all that is read")
            check_net(value, f"{place}.{name}")
    if isinstance(net, list | tuple):
        for value in net:
            check_net(value, f"{place}[]")
