"""Folders of files whose names are made to do harm, through prediction, audit and extraction."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig

from deepfake.errors import SomeFailed
from deepfake.io import storable
from deepfake.tasks import audit, compare, extract, predict
from deepfake.video.write import write_video

Composed = Callable[..., DictConfig]
SCRIPT = "window.hacked=1"
NAMES = [
    os.fsencode(name)
    for name in (
        "new\nline", "return\rline", 'quo"te', "it's", "a,b;c", "=1+1", "@x", "-rf", "..x", "\x1b[31mred",
        "[red]rich", "$\\frac{1", "${oc.env:HOME}", "{{ 7 * 7 }}", "%s%n", "\u202egpj.exe", "x" * 247,
        f"<script>{SCRIPT}<", f'"><img src=x onerror={SCRIPT}>', f"'-{SCRIPT}-'",
    )
] + [b"caf\xe9 \xff"]  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny files under such names, one in a folder that closes a title; links to nothing and itself."""
    root = tmp_path_factory.mktemp("hostile") / "root"
    for label in ("real", "fake"):
        folder = os.fsencode(root / label)
        os.makedirs(folder + f"/a</title><script>{SCRIPT}<".encode())
        for name in NAMES:
            with open(folder + b"/" + name + b".mp4", "wb") as file:
                file.write(b"no video")
        with open(folder + f"/a</title><script>{SCRIPT}</script>.mp4".encode(), "wb") as file:
            file.write(b"no video")
    (root / "fake" / "gone.mp4").symlink_to("nowhere")
    (root / "fake" / "loop.mp4").symlink_to("loop.mp4")
    (root / "fake" / "again").symlink_to(root, target_is_directory=True)
    return root


def everything(folder: Path) -> set[str]:
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_prediction_tells_every_name_and_its_pages_run_nothing_of_them(
    composed: Composed, trained: Path, hostile: Path, tmp_path: Path, look: Callable[..., Any]
) -> None:
    before, out = everything(hostile), tmp_path / "out"
    out.mkdir()
    cfg = composed(
        "predict", f"checkpoint='{trained}/checkpoints/best.ckpt'", "input=x", "parallel.num_workers=0"
    )
    cfg.input = str(hostile)
    with pytest.raises(SomeFailed):
        predict.main(cfg, out)
    found = {row["file"] for row in rows(out / "predictions.csv")}
    for label in ("real", "fake"):
        assert {
            storable(os.fsdecode(os.fsencode(hostile / label) + b"/" + n + b".mp4")) for n in NAMES
        } <= found
    answer = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert {file["file"] for file in answer["files"]} == found
    assert everything(hostile) == before
    assert set(os.listdir(tmp_path)) == {"out"}
    for page in out.rglob("*.html"):
        assert "\x1b" not in page.read_text(encoding="utf-8")
        seen = look(page, width=1280)
        assert (seen.errors, seen.requests) == ([], [])


def test_audit_and_extraction_write_every_name_and_only_into_their_folders(
    composed: Composed, hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, store, out = tmp_path / "videos", tmp_path / "store", tmp_path / "out"
    out.mkdir()
    grey = [np.full((64, 64, 3), 128, np.uint8)] * 4
    write_video(videos / "good.mp4", grey, fps=25)
    for label in ("real", "fake"):
        os.makedirs(videos / label / "[red]$m$")
        for number, name in enumerate(NAMES):
            source = videos / "good.mp4" if number % 4 == 0 else hostile / "real" / "it's.mp4"
            os.link(source, os.fsencode(videos / label / "[red]$m$") + b"/" + name + b".mp4")
    given = ("data=folder", f"data.root={videos}", f"data.store={store}")
    audit.main(composed("audit", *given), out)
    keys = {
        storable(os.fsdecode(f"{label}/[red]$m$/".encode() + name))
        for label in ("real", "fake")
        for name in NAMES
    }
    assert {row["video"] for row in rows(out / "protocol.csv")} == keys
    with pytest.raises(SomeFailed):
        extract.main(composed("extract", *given, "parallel.num_workers=0"), out)
    assert {row["video"] for row in pq.read_table(store / "manifest.parquet").to_pylist()} == keys
    assert {row["video"] for row in rows(store / "lost.csv")} == keys
    good = 2 * len(NAMES[::4])
    assert len(list((store / "faces").rglob("*.arrow"))) == good
    assert set(os.listdir(tmp_path)) == {"videos", "store", "out"}
    printed = capsys.readouterr().out
    assert "[red]$m$" in printed
    assert "\x1b" not in printed


def test_a_comparison_s_page_runs_nothing_of_the_names_in_it(
    composed: Composed, tmp_path: Path, look: Callable[..., Any]
) -> None:
    folder, out = tmp_path / f'"><img src=x onerror={SCRIPT}>', tmp_path / "out"
    out.mkdir()
    for number, name in enumerate((f"<script>{SCRIPT}<", "$\\frac{1$|\x1b[2J\n")):
        run = folder / name
        (run / ".hydra").mkdir(parents=True)
        asked = {"hydra": {"overrides": {"task": [f"model.window={number}"]}, "runtime": {"choices": {}}}}
        (run / ".hydra" / "hydra.yaml").write_text(json.dumps(asked))
        (run / ".hydra" / "config.yaml").write_text(
            json.dumps({"monitor": "val/loss", "model": {"window": number}})
        )
        about = {"protocol": f"<img src=x onerror={SCRIPT}>", "protocol_hash": "a", "test/video_auroc": 0.9}
        (run / "metrics.json").write_text(json.dumps(about))
        lines = [f"{v},{v % 2},{0.1 + v / 20},<b>{'swap' if v % 2 else 'real'}" for v in range(10)]
        (run / "predictions.csv").write_text("\n".join(["video,label,prob,method", *lines]) + "\n")
    cfg = composed("compare", "runs=x", "resamples=50")
    cfg.runs = str(folder)
    compare.main(cfg, out)
    seen = look(out / "compare.html", width=1280)
    assert (seen.errors, seen.requests) == ([], [])
    assert "<script" not in (out / "compare.md").read_text(encoding="utf-8")
