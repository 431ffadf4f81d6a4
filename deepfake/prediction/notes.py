"""What an exported file says of itself, as JSON: with it the one file is enough to predict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepfake.errors import UserError
from deepfake.models.detector import Detector
from deepfake.records import InputSpec
from deepfake.training.checkpoint import KEY, Recipe, check_recipe, read_recipe
from deepfake.training.limits import check_plain

FORMAT = 1


def make_notes(detector: Detector, recipe: Recipe, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Plain values: input (of InputSpec), the recipe, and what tells this detector from any other.

    Of the protocol its name and hash are kept; who was seen in training stays in the checkpoint.
    """
    stamp = recipe.protocol
    return {
        "format": FORMAT,
        "input": asdict(detector.input),
        "recipe": replace(recipe, protocol=None).to_dict(),
        "protocol": stamp and {name: stamp[name] for name in ("name", "hash")},
        "fingerprints": dict(fingerprints),
    }


def read_notes(text: str, path: Path) -> tuple[InputSpec, Recipe]:
    """The input and the recipe in the notes of the file at path; raises UserError if they are not ours."""
    try:
        notes = json.loads(text)
        if notes["format"] != FORMAT:
            raise UserError(f"its notes have format {notes['format']!r:.80}, and this version reads {FORMAT}")
        told, stamp = {KEY: notes["recipe"]}, notes["protocol"]
        check_recipe(told)
        check_plain(notes["input"], "input")
        if stamp is not None:
            stamp = {name: str(stamp[name]) for name in ("name", "hash")}
        return InputSpec(**notes["input"]), replace(read_recipe(told), protocol=stamp)
    except UserError as err:
        raise UserError(f"checkpoint={path}: {err}; export it anew") from err
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise UserError(
            f"checkpoint={path}: damaged notes ({type(err).__name__}: {err!s:.80}); export it anew"
        ) from err
