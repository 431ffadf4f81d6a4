import csv
import json
import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from deepfake.reports import predictions as files
from deepfake.reports.predictions import COLUMNS, SCHEMA, SCHEMA_FILE, write_predictions
from deepfake.scoring.prediction import Prediction, TrackPrediction, WindowPrediction

DOCUMENT = json.loads(SCHEMA_FILE.read_text())
WORDS = set(
    "$ref $schema $id $defs title description type properties required additionalProperties items enum const "
    "minimum maximum minItems maxItems pattern oneOf".split()
)
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def flaws(value: Any, schema: dict[str, Any], place: str = "") -> list[str]:
    """Where a value is not as a schema says; only the words that our own document uses are known."""
    schema = {**follow(schema["$ref"]), **schema} if "$ref" in schema else schema
    assert schema.keys() <= WORDS
    kinds = schema.get("type", [])
    if kinds and not any(is_a(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return [f"{place}: {value!r} is no {kinds}"]
    found = [] if fits(value, schema) else [f"{place}: {value!r}"]
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += flaws(item, schema.get("items", {}), f"{place}[{number}]")
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{place}.{name} is missing" for name in set(schema.get("required", [])) - value.keys()]
        for name, item in value.items():
            if name in known or isinstance(more, dict):
                found += flaws(item, known.get(name, more), f"{place}.{name}")
            elif not more:
                found.append(f"{place}.{name} is not described")
    return found


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is one of those that a schema allows, whatever is in it."""
    size = len(value) if isinstance(value, list) else 0
    number = value if is_a(value, "number") else 0
    return (
        ("oneOf" not in schema or sum(not flaws(value, one) for one in schema["oneOf"]) == 1)
        and value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and (not isinstance(value, str) or re.search(schema.get("pattern", ""), value) is not None)
        and schema.get("minimum", number) <= number <= schema.get("maximum", number)
        and schema.get("minItems", 0) <= size <= schema.get("maxItems", size)
    )


def is_a(value: Any, kind: str) -> bool:
    """Whether a value is of a type of JSON."""
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def follow(ref: str) -> dict[str, Any]:
    """A definition of the document."""
    return DOCUMENT["$defs"][ref.removeprefix("#/$defs/")]


WINDOW = WindowPrediction(start_frame=0, end_frame=3, start_s=0.0, end_s=0.12, prob=0.75, logit=1.0986)
TRACK = TrackPrediction(
    track=0,
    prob=0.75,
    frames=4,
    start_s=0.0,
    end_s=0.12,
    spans=((0.0, 0.12),),
    box=(1.0, 2.0, 3.0, 4.0),
    windows=(WINDOW, WINDOW),
)
ABOUT = {"sha256": "0" * 64, "bytes": 9, "modified": "2026-11-25T00:00:00+00:00"}
GOOD = Prediction(
    file='clip, "one"\n.mp4',
    status="ok",
    prob=0.75,
    verdict="fake",
    reason="",
    sampled_frames=5,
    face_frames=4,
    tracks=(TRACK,),
    about=ABOUT,
)
BAD = Prediction(file="ü.mp4", status="error", prob=None, verdict="undetermined", reason="broken")
HEADER = {
    "schema": SCHEMA,
    "complete": True,
    "num_files": 2,
    "num_failed": 1,
    "written": "2026-11-25T00:00:00+00:00",
    "model": {"path": "a", "sha256": "0" * 64, "fingerprint": "1" * 64, "net": {}, "protocol": None},
    "preprocessing": {"fingerprint": "2" * 64, "faces": {}, "input": {}, "windows": {}},
    "decision": {
        "threshold": 0.5,
        "threshold_origin": "default",
        "threshold_rule": None,
        "undetermined_margin": 0,
        "window_rule": "mean",
        "track_rule": "max",
        "calibrate": False,
        "temperature": 1.0,
    },
    "environment": {"python": "3.11"},
}


def test_the_checker_finds_flaws() -> None:
    whole = json.loads(json.dumps({**HEADER, "files": [GOOD.to_dict(), BAD.to_dict()]}))
    assert flaws(whole, DOCUMENT) == []
    for name, value, flaw in [
        ("complete", 1, ".complete: 1 is no boolean"),
        ("num_files", True, ".num_files: True is no integer"),
        ("num_files", -1, ".num_files: -1"),
        ("schema", "deepfake.predictions/1", ".schema: 'deepfake.predictions/1'"),
        ("more", 1, ".more is not described"),
        ("environment", {"cores": 2}, ".environment.cores: 2 is no string"),
        ("files", [{**whole["files"][1], "prob": 1.5}], ".files[0].prob: 1.5"),
        ("files", [{**whole["files"][1], "about": {"sha256": "x"}}], ".files[0].about.sha256: 'x'"),
    ]:
        assert flaws({**whole, name: value}, DOCUMENT) == [flaw]
    assert flaws({}, DOCUMENT) != []


def described(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, bool]]:
    """Every field of the document, and whether it has a description."""
    for name, field in schema.get("properties", {}).items():
        yield f"{place}.{name}", bool(field.get("description"))
        for part in (field, *field.get("oneOf", [])):
            yield from described(part, f"{place}.{name}")
    for name, part in schema.get("$defs", {}).items():
        yield from described(part, name)


def test_every_field_is_described_and_the_score_s_meaning_is_told() -> None:
    fields = dict(described(DOCUMENT))
    assert len(fields) > 60
    assert [name for name, told in fields.items() if not told] == []
    text = SCHEMA_FILE.read_text()
    for words in (
        "P(fake)",
        "from 0 (real) to 1 (fake)",
        "no verdict that the file is real",
        "validation split",
    ):
        assert words in text
    assert DOCUMENT["$id"] == DOCUMENT["properties"]["schema"]["const"] == SCHEMA


def test_what_is_written_is_as_the_schema_says_and_in_order(tmp_path: Path) -> None:
    write_predictions(tmp_path, HEADER, iter([GOOD, BAD]))
    text = (tmp_path / "predictions.json").read_text()
    whole = json.loads(text)
    assert flaws(whole, DOCUMENT) == []
    assert [Prediction.from_dict(file) for file in whole["files"]] == [GOOD, BAD]
    assert sum(line.startswith('  {"file"') for line in text.splitlines()) == 2
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        list(COLUMNS),
        [GOOD.file, "ok", "0.750000", "fake", "1", "4", ""],
        ["ü.mp4", "error", "", "undetermined", "0", "0", "broken"],
    ]
    (row, same) = pq.read_table(tmp_path / "windows.parquet").to_pylist()
    assert row == same
    assert row == {
        "file": GOOD.file,
        "track": 0,
        "start_frame": 0,
        "end_frame": 3,
        "start_s": 0.0,
        "end_s": 0.12,
        "logit": 1.0986,
        "prob": 0.75,
    }
    assert {path.name for path in tmp_path.iterdir()} == {
        "predictions.csv",
        "predictions.json",
        "windows.parquet",
    }


def test_no_file_at_all_is_an_empty_list(tmp_path: Path) -> None:
    write_predictions(tmp_path, HEADER, [])
    assert json.loads((tmp_path / "predictions.json").read_text())["files"] == []
    assert pq.read_table(tmp_path / "windows.parquet").num_rows == 0


def test_at_most_two_predictions_are_in_memory_and_rows_are_written_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tracked(dict[str, Any]):
        """A dict that can be watched."""

    made: weakref.WeakSet[Tracked] = weakref.WeakSet()

    def make() -> Iterator[Prediction]:
        for number in range(6):
            about = Tracked(bytes=number)
            assert len(made) <= 1
            made.add(about)
            yield replace(GOOD, file=str(number), about=about)
            del about

    monkeypatch.setattr(Tracked, "__hash__", object.__hash__)
    monkeypatch.setattr(files, "ROWS_PER_GROUP", 4)
    write_predictions(tmp_path, HEADER, make())
    parquet = pq.ParquetFile(tmp_path / "windows.parquet")
    assert parquet.metadata.num_rows == 12
    assert parquet.num_row_groups == 3
    assert parquet.read()["file"].to_pylist() == [str(number) for number in range(6) for _ in range(2)]


def test_a_report_that_breaks_off_leaves_the_one_before(tmp_path: Path) -> None:
    def breaks() -> Iterator[Prediction]:
        yield GOOD
        raise KeyboardInterrupt

    write_predictions(tmp_path, HEADER, [GOOD, BAD])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        write_predictions(tmp_path, HEADER, breaks())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
