from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deepfake.reports import contact_sheet
from deepfake.reports.contact_sheet import SheetTrack, choose_tracks, evenly, plot_tracks, shorten

LEFT, TOP = 30 + 7 + 5, 76 + 42  # of the first crop of a sheet
BLUE, RED = (0x2A, 0x7F, 0x9E), (0xC8, 0x55, 0x3D)

TRACK = SheetTrack(
    crops=[np.full((side, side, 3), 20 * n, np.uint8) for n, side in enumerate((104, 512, 40))],
    video="Deepfakes/c23/000_003",
    method="Deepfakes",
    label=1,
    split="train",
    side_px=211.6,
    frames=128,
    start_s=0.04,
    end_s=9.96,
    score=0.987,
    main=True,
)
WIDE = replace(
    TRACK,
    crops=TRACK.crops * 4,
    video="W$^" * 40,
    method="W_$" * 20,
    side_px=2160,
    frames=128000,
    start_s=10000,
    end_s=20000,
    note="the main face by mask, and more " * 9,
)


def pixels(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[:, :, ::-1]


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The texts of each figure that is saved."""
    kept: list[Any] = []

    def keep(figure: Figure, _: Path) -> None:
        FigureCanvasAgg(figure).draw()
        kept.extend(figure.axes[0].texts)

    monkeypatch.setattr(contact_sheet, "save", keep)
    return kept


def test_crops_stand_side_by_side_pixel_for_pixel(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (104, 104, 3), np.uint8)
    plot_tracks([replace(TRACK, crops=[noise, *TRACK.crops[1:]])], tmp_path / "new" / "sheet.png")
    sheet = pixels(tmp_path / "new" / "sheet.png")
    assert sheet.shape == (76 + 42 + 104 + 30, 30 + 7 + 5 + 8 * 107 - 3 + 30, 3)
    strip = sheet[TOP : TOP + 104, LEFT : LEFT + 8 * 107]
    assert (strip[:, :104] == noise).all()
    for place, value in enumerate([20, 40, 245, 245, 245, 245, 245], 1):
        assert (strip[:, place * 107 : place * 107 + 104] == value).all()
        assert (strip[:, place * 107 - 3 : place * 107] == 255).all()


def test_the_stripe_tells_real_fake_and_another_face(tmp_path: Path) -> None:
    stripes = [(1, True, RED, RED), (0, True, BLUE, BLUE), (1, False, RED, (255, 255, 255))]
    for label, main, edge, middle in stripes:
        plot_tracks([replace(TRACK, label=label, main=main)], tmp_path / "sheet.png")
        sheet = pixels(tmp_path / "sheet.png")
        assert tuple(sheet[TOP + 50, 30]) == edge
        assert tuple(sheet[TOP + 50, 33]) == middle


def test_the_caption_says_what_was_found(texts: list[Any], tmp_path: Path) -> None:
    other = replace(TRACK, main=False, frames=1, split=None)
    plot_tracks([TRACK, other], tmp_path / "x.png", title="store a/b")
    assert [text.get_text() for text in texts] == [
        "store a/b: 2 tracks",
        "real",
        "fake",
        "another face",
        "Deepfakes/c23/000_003",
        "Deepfakes · train",
        "212 px · 128 frames, 0.0–10.0 s · score 0.99",
        "",
        "Deepfakes/c23/000_003",
        "Deepfakes",
        "212 px · 1 frame, 0.0 s · score 0.99",
        "not the main face",
    ]


@pytest.mark.parametrize("count", [1, 6, 7, 24])
def test_no_text_overlaps_another_or_a_picture_or_leaves_the_sheet(
    count: int, texts: list[Any], tmp_path: Path
) -> None:
    plot_tracks([WIDE] * count, tmp_path / "x.png", title="store /very/long/" + "path/" * 20)
    assert len(texts) == 4 + 4 * count
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    sheet = texts[0].figure.bbox
    assert all(box.x0 >= 29 and box.x1 <= sheet.width - 29 for box in boxes)
    for box in boxes[4:]:  # the 42 pixels above each strip are for text
        assert (sheet.height - box.y0 - 76) % (42 + 104 + 24) <= 42


def test_no_tracks_make_no_picture(tmp_path: Path) -> None:
    plot_tracks([], tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []


def test_the_longest_texts_lose_their_middle() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcd…ghijk"
    assert shorten("abcdefghijk", 2) == "…k"


def test_moments_are_spread_over_the_track() -> None:
    assert evenly(15) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert evenly(3) == [0, 1, 2]
    assert evenly(1) == [0]
    assert evenly(0) == []


def row(video: str, method: str, num_tracks: int) -> dict[str, Any]:
    return {"video": video, "method": method, "tracks": [{"track": n} for n in range(num_tracks)]}


def test_tracks_are_drawn_fairly_from_methods_and_videos() -> None:
    rows = [row(f"real/{n}", "real", 1) for n in range(50)]
    rows += [row(f"swap/{n}", "swap", 3) for n in range(4)] + [row("none", "none", 0), row("few", "few", 2)]
    drawn = choose_tracks(rows, 14, seed=1)
    methods = [{"few": "few"}.get(video, video.split("/")[0]) for video, _ in drawn]
    assert methods == ["real"] * 6 + ["few"] * 2 + ["swap"] * 6
    assert len(set(drawn)) == 14
    assert sorted(Counter(v for v, _ in drawn if "swap" in v).values()) == [1, 1, 2, 2]
    assert {video for video, _ in drawn[8:12]} == {f"swap/{n}" for n in range(4)}


def test_the_seed_decides_what_is_drawn() -> None:
    rows = [row(f"real/{n}", "real", 1) for n in range(50)]
    assert choose_tracks(rows, 8, seed=0) == choose_tracks(rows, 8, seed=0)
    assert choose_tracks(rows, 8, seed=0) != choose_tracks(rows, 8, seed=1)
    assert sorted(choose_tracks(rows, 99, seed=0)) == sorted((r["video"], 0) for r in rows)
    assert choose_tracks([], 8, seed=0) == []
