import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image

from deepfake.config import to_plain
from deepfake.errors import SomeFailed
from deepfake.faces.settings import FaceSettings
from deepfake.tasks import extract
from deepfake.tasks.build import make_store

Composed = Callable[..., DictConfig]


def test_an_extraction_proves_what_it_did(
    composed: Composed, tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    videos = tiny_demo[0], *tiny_demo[2:3]
    store = f"data.store={tmp_path / 'store'}"
    extract.main(composed("extract", *videos, store, "faces.num_clips=1", "parallel.num_workers=0"), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["videos"], summary["failed"], summary["sampled_frames"]) == (24, 0, 24 * 8)
    assert summary["coverage"] == round(summary["face_frames"] / summary["sampled_frames"], 6)
    done = summary["extracted"]
    assert (done["videos"], done["frames"]) == (24, 24 * 8)
    assert done["bytes"] == sum(p.stat().st_size for p in (tmp_path / "store" / "faces").rglob("*.arrow"))
    assert set(done["seconds_by_stage"]) == {"scan", "decode", "detect", "follow", "crop", "write"}
    assert 0 < sum(done["seconds_by_stage"].values()) <= done["wall_s"] + 0.01
    with Image.open(tmp_path / "faces.png") as sheet:
        assert sheet.width > 1000
    again = tmp_path / "again"
    again.mkdir()
    extract.main(composed("extract", *videos, store, "faces.num_clips=1"), again)
    assert json.loads((again / "summary.json").read_text())["extracted"]["videos"] == 0
    assert (again / "faces.png").read_bytes() == (tmp_path / "faces.png").read_bytes()


def test_losses_are_counted_by_kind(
    composed: Composed, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from deepfake.video.write import write_video

    root = tmp_path / "videos"
    for label in ("real", "fake"):
        write_video(root / label / "grey.mp4", [np.full((96, 96, 3), 128, np.uint8)] * 9, fps=25)
    (root / "real" / "broken.mp4").write_bytes(b"no video")
    chosen = ("data=folder", f"data.root={root}", f"data.store={tmp_path / 'store'}", "faces.num_clips=1")
    with pytest.raises(SomeFailed, match=r"1 of 3 videos could not be read: see .*lost\.csv"):
        extract.main(composed("extract", *chosen), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["losses"] == {"unreadable": 1, "no face": 2}
    assert (summary["failed"], summary["tracks"], summary["coverage"]) == (1, 0, 0)
    printed = capsys.readouterr().out
    assert "unreadable" in printed
    assert "no face found in 8 sampled frames" in printed.replace("\n", " ")
    assert not (tmp_path / "faces.png").exists()


def test_a_store_at_a_url_is_read_through_a_folder_of_copies(composed: Composed) -> None:
    cfg = composed("extract", "data.store='s3://bucket/stores/demo'", "data.cache=/copies")
    store = make_store(to_plain(cfg.data), FaceSettings())
    assert store.urls == {"": "s3://bucket/stores/demo"}
    assert store.root.parent == Path("/copies")
    assert store.root.name.startswith("bucket_stores_demo-")
    assert make_store(to_plain(composed("extract").data), FaceSettings()).urls == {}
