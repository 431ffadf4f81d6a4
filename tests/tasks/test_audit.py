"""audit.py on trees of empty files: what it counts, names and writes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from deepfake.config import to_plain
from deepfake.errors import UserError
from deepfake.tasks import audit

Composed = Callable[..., DictConfig]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """FaceForensics++ of three pairs and one method, with a leftover of a download and a gap."""
    folders = {"original_sequences/youtube": ["000", "001", "002", "003", "004"]}
    folders["manipulated_sequences/Deepfakes"] = ["000_001", "001_000", "002_003", "004_005"]
    for folder, stems in folders.items():
        for stem in stems:
            path = tmp_path / "ffpp" / folder / "c23" / "videos" / f"{stem}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "ffpp" / "manipulated_sequences/Deepfakes/c23/videos/tmpk3_x").touch()
    for name, pair in (("train", ["000", "001"]), ("val", ["002", "003"]), ("test", ["004", "005"])):
        (tmp_path / "ffpp" / f"{name}.json").write_text(json.dumps([pair]))
    return tmp_path / "ffpp"


def test_it_counts_names_splits_and_writes_all_of_it(
    composed: Composed, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed("audit", "data=ffpp", f"data.root={root}", "data.methods=[Deepfakes,FaceSwap]")
    audit.main(cfg, tmp_path)
    summary = json.loads((tmp_path / "audit.json").read_text())
    assert summary["folders"]["Deepfakes/c23"] == {
        "present": 4,
        "expected": 1000,
        "missing_names": 2,  # 003_002 and 005_004, as far as the lists tell
        "unknown_names": 1,
    }
    assert summary["folders"]["FaceSwap/c23"]["present"] == 0
    assert summary["splits"] == {
        "train": {"Deepfakes": 2, "real": 2},
        "val": {"Deepfakes": 1, "real": 2},
        "test": {"Deepfakes": 1, "real": 1},
    }
    with (tmp_path / "names.csv").open(newline="") as file:
        names = [tuple(row.values()) for row in csv.DictReader(file)]
    assert ("Deepfakes/c23", "tmpk3_x", "unknown") in names
    assert ("Deepfakes/c23", "003_002", "missing") in names
    assert ("youtube/c23", "999", "missing") in names
    printed = capsys.readouterr().out
    assert "995: 005, 006, 007 …" in printed
    assert "protocol ffpp_c23/official" in printed
    with (tmp_path / "protocol.csv").open(newline="") as file:
        assert [row["split"] for row in csv.DictReader(file) if row["video"] == "youtube/c23/004"] == ["test"]


def test_a_leak_is_an_error_where_that_is_asked_for(composed: Composed, root: Path, tmp_path: Path) -> None:
    (root / "conversion_dict.json").write_text(json.dumps({f"00{n}": f"film{n % 4} 0" for n in range(6)}))
    args = ("audit", "data=ffpp", f"data.root={root}")
    audit.main(composed(*args), tmp_path)
    with pytest.raises(UserError, match=r"data\.on_leak=error: test in train\+val: 2 of 2 recordings"):
        audit.main(composed(*args, "data.on_leak=error"), tmp_path)
    with pytest.raises(UserError, match=r"data\.on_leak=never: must be one of warn, error"):
        audit.main(composed(*args, "data.on_leak=never"), tmp_path)


def test_it_needs_neither_torch_nor_a_decoder() -> None:
    import subprocess
    import sys

    heavy = ("torch", "av", "decord", "cv2", "matplotlib", "scipy.optimize")
    code = f"import sys, deepfake.tasks.audit; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_what_joint_data_say_holds_for_each_corpus_that_has_no_protocol_of_its_own(
    composed: Composed, root: Path, tmp_path: Path
) -> None:
    args = ("audit", "data=joint", f"data.corpora.ffpp.root={root}", "data.corpora.ffpp.methods=[Deepfakes]")
    names = {}
    for overrides in (
        (),
        ("data.protocol=strict",),
        ("data.protocol=strict", "data.corpora.ffpp.protocol=official"),
    ):
        audit.main(composed(*args, *overrides), tmp_path)
        names[overrides] = json.loads((tmp_path / "audit.json").read_text())["protocol"]
    assert list(names.values()) == ["ffpp_c23/official", "ffpp_c23/strict", "ffpp_c23/official"]


def test_an_unknown_training_is_no_clean_one(composed: Composed, root: Path, tmp_path: Path) -> None:
    from deepfake.corpora.protocols import load_test_protocol

    data = to_plain(composed("audit", "data=ffpp", f"data.root={root}").data)
    load_test_protocol(data, "test", None, tmp_path)
    with pytest.raises(
        UserError, match=r"data\.on_leak=error: the checkpoint does not say what it was trained on"
    ):
        load_test_protocol(data | {"on_leak": "error"}, "test", None, tmp_path)


def test_what_selection_saw_counts_as_seen(composed: Composed, root: Path, tmp_path: Path) -> None:
    from deepfake.corpora.protocols import load_protocol, load_test_protocol, stamp

    data = to_plain(composed("audit", "data=ffpp", f"data.root={root}").data)
    load_test_protocol(data, "val", stamp(load_protocol(data)), tmp_path)
    (shares,) = json.loads((tmp_path / "leaks.json").read_text())["overlaps"].values()
    assert (shares["identities"]["shared"], shares["identities"]["of"]) == (2, 2)
