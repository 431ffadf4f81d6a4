"""Weights made elsewhere, under a detector's own names, and their way into a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from deepfake.errors import UserError
from deepfake.models.detector import Detector

HEAD = "head."
COUNTER = "num_batches_tracked"  # of BatchNorm; it moves nothing here, and not every layout has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Tensors of one file under the names that a Detector gives them: "backbone.…", "head.…".

    made_for: the network that they are of, for messages. input: what is known of the crops that it wants, by
    the names of conf/model (image_size, margin, mean, std). ours: a checkpoint of this project.
    """

    path: Path
    made_for: str
    state: Mapping[str, Tensor]
    input: Mapping[str, Any]
    ours: bool = False


def load_weights(detector: Detector, weights: Weights) -> bool:
    """Put weights into a detector; False if its head stays as it was, because the file has none of its kind.

    Raises UserError naming the first tensor that does not fit, with its shape on both sides.
    """
    wanted = shapes(detector.state_dict())
    given = shapes(weights.state)
    with_head = of_head(wanted) == of_head(given)
    if not with_head:
        for both in (wanted, given):
            for name in of_head(both):
                del both[name]
    if wanted != given:
        raise UserError(
            f"weights={weights.path}: made for {weights.made_for}, which is not this model: "
            f"{first_difference(wanted, given)}; choose model=, model.image_size or model.name to match"
        )
    fitting = {name: weights.state[name] for name in given}
    detector.load_state_dict(fitting, strict=False)  # nothing is missing but counters and such a head
    return with_head


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that a network computes with."""
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith(COUNTER)}


def of_head(names: Mapping[str, Any]) -> set[str]:
    """Those names that belong to the head."""
    return {name for name in names if name.startswith(HEAD)}


def first_difference(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    """The first tensor, in the model's order, that has another shape in the file or is on one side only."""
    for name, shape in wanted.items():
        if name not in given:
            strangers = (name for name in given if name not in wanted and len(given[name]) == len(shape))
            other = next(strangers, None)
            instead = f", which has {other} {given[other]} instead" if other else ""
            return f"its {name} {shape} is not in the file{instead}"
        if given[name] != shape:
            return f"{name} is {shape} in the model and {given[name]} in the file"
    name = next(name for name in given if name not in wanted)
    return f"{name} {given[name]} of the file has no place in it"
