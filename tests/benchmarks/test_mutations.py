import os
import stat
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz import files_without_one_row, outcome_of, tally
from benchmarks.hostile_files import KINDS, MUTATIONS, kind_of, make_files, put

WHOLE = b"\0\0\0\x18ftypisom" + b"moovmvhdtkhdmdhdavc1stszsttsstsc".join([bytes(300)] * 3) + b"mdat" * 50


@pytest.mark.parametrize("kind", [kind for kind in MUTATIONS if kind != "whole"])
def test_a_mutation_changes_the_bytes_and_repeats_with_its_seed(kind: str) -> None:
    first, again = (MUTATIONS[kind](np.random.default_rng(3), WHOLE) for _ in range(2))
    assert first == again != WHOLE


def test_a_value_is_put_behind_the_first_mention_of_a_name() -> None:
    assert put(b"..avih0123456789avih", b"avih", 6, b"XY") == b"..avih01XY456789avih"
    assert put(b"nothing", b"avih", 6, b"XY") == b"nothing"


def test_files_are_of_every_kind_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(WHOLE)
    count = 2 * len(KINDS)
    made = make_files([source], tmp_path / "a", count=count, seed=5, odd=True)
    assert [kind_of(path) for path in made] == [*KINDS, *KINDS]
    assert {path.parent.name for path in made} == {"real", "fake"}
    again = make_files([source], tmp_path / "b", count=count, seed=5, odd=True)
    for one, other in zip(made, again, strict=True):
        if kind_of(one) in MUTATIONS:
            assert one.read_bytes() == other.read_bytes()
    kinds = {kind_of(path): path for path in made}
    assert stat.S_ISFIFO(os.stat(kinds["pipe"]).st_mode)
    assert stat.S_ISSOCK(os.stat(kinds["socket"]).st_mode)
    assert kinds["dead_link"].is_symlink()
    assert not kinds["dead_link"].exists()
    assert stat.S_ISCHR(os.stat(kinds["device"]).st_mode)


def test_rows_are_counted_and_files_without_exactly_one_are_told() -> None:
    files = [Path("0_bits.mp4"), Path("1_bits.mp4"), Path("2_cut.mp4")]
    reasons = {
        "0_bits.mp4": [""],
        "1_bits.mp4": ["TimeLimitReached: it took longer", ""],
        "3_cut.mp4": ["DecodeError: x"],
    }
    assert files_without_one_row(files, reasons) == ["1_bits.mp4", "2_cut.mp4", "3_cut.mp4"]
    counts = {kind: dict(found) for kind, found in tally(files, reasons).items()}
    assert counts == {"bits": {"read": 2, "too slow": 1}, "cut": {"no row": 1}}
    assert outcome_of("MemoryLimitReached: x") == "too large"
    assert outcome_of("LimitReached: x") == "beyond limits"
    assert outcome_of("WorkerDied: x") == "crashed"
    assert outcome_of("DecodeError: x") == "refused"
