import csv
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from extracted import FakeExtraction

from deepfake.errors import DecodeError, UserError
from deepfake.faces import extract_corpus as corpus_module
from deepfake.faces.main_face import Choice, choose, mask_shares, region_shares
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import MISSED, FaceStore, read_about
from deepfake.faces.video_faces import SourceFile, VideoFaces, to_table
from deepfake.records import FAKE, REAL, Video, VideoInfo
from deepfake.video.write import write_video

Box = tuple[float, float, float, float]

LARGE, SMALL = (0.0, 0.0, 64.0, 64.0), (96.0, 64.0, 128.0, 96.0)
SETTINGS = FaceSettings()
ExtractCorpus = Callable[..., corpus_module.CorpusExtraction]


def faces_with(
    *tracks: dict[int, Box], sampled: Sequence[int] = (0, 1, 2, 3), size: tuple[int, int] = (160, 128)
) -> VideoFaces:
    """Faces of a video of size (width, height); each track says where its box is in which frame."""
    info = VideoInfo(
        num_frames=8, fps=25.0, width=size[0], height=size[1], rotation_deg=0, codec="h264", container="mov"
    )
    rows = [
        {"track": track, "clip": 0, "step": frame, "frame": frame, "time_s": frame / 25, "box": box}
        | {"landmarks": [0.0] * 10, "score": 1.0, "detected": True, "square": [0, 0, 8], "jpeg": b"crop"}
        for track, boxes in enumerate(tracks)
        for frame, box in boxes.items()
    ]
    return VideoFaces(to_table(rows), info, SETTINGS, tuple(sampled))


def still(box: Box, frames: Iterable[int] = range(4)) -> dict[int, Box]:
    return dict.fromkeys(frames, box)


TWO = faces_with(still(LARGE), still(SMALL))


def mask_film(path: Path, *boxes: Box | None, size: tuple[int, int] = (160, 128)) -> Path:
    """A mask video, one frame a box: white inside, black outside."""
    frames = np.zeros((len(boxes), size[1], size[0], 3), np.uint8)
    for frame, box in zip(frames, boxes, strict=True):
        if box is not None:
            x0, y0, x1, y1 = map(int, box)
            frame[y0:y1, x0:x1] = 255
    write_video(path, frames, fps=25, crf=10)
    return path


def test_the_smaller_face_is_the_main_one_where_the_mask_shows_it(tmp_path: Path) -> None:
    shares = mask_shares(TWO, mask_film(tmp_path / "mask.mp4", *[SMALL] * 4))
    assert shares == (0.0, 1.0)
    assert choose(replace(TWO, mask_shares=shares), rule="mask") == Choice(1, "mask", (0.0, 1.0))


def test_a_share_counts_the_mask_pixels_inside_the_box_and_none_beyond_the_picture() -> None:
    region = np.zeros((8, 8), bool)
    region[:4, :4] = True
    boxes = np.array([(0, 0, 4, 2), (-3, -3, 20, 20), (3.4, 3.4, 9, 9), (10, 10, 12, 12), (-9, -9, -2, -2)])
    assert region_shares(region, boxes).tolist() == [0.5, 1.0, 1 / 16, 0.0, 0.0]


def test_frames_without_the_track_count_nothing_and_frames_without_mask_do_not_count(tmp_path: Path) -> None:
    faces = faces_with(still(LARGE), still(SMALL, [0, 3]))
    mask = mask_film(tmp_path / "mask.mp4", SMALL, None, SMALL, None)
    assert mask_shares(faces, mask) == (0.0, 0.5)


def test_only_sampled_frames_of_the_mask_are_looked_at(tmp_path: Path) -> None:
    faces = faces_with(still(LARGE, [1, 3]), still(SMALL, [1, 3]), sampled=[1, 3])
    assert mask_shares(faces, mask_film(tmp_path / "mask.mp4", LARGE, SMALL, LARGE, SMALL)) == (0.0, 1.0)


def test_a_mask_shorter_than_its_video_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    assert mask_shares(TWO, mask_film(tmp_path / "mask.mp4", SMALL, SMALL)) == (0.0, 1.0)
    late = faces_with(still(LARGE, [5, 6]), sampled=[5, 6])
    assert mask_shares(late, tmp_path / "mask.mp4") == ()


def test_boxes_are_scaled_to_a_mask_of_another_size(tmp_path: Path) -> None:
    half = (48.0, 32.0, 64.0, 48.0)
    assert mask_shares(TWO, mask_film(tmp_path / "mask.mp4", *[half] * 4, size=(80, 64))) == (0.0, 1.0)


def test_a_black_mask_says_nothing_and_size_decides(tmp_path: Path) -> None:
    shares = mask_shares(TWO, mask_film(tmp_path / "mask.mp4", *[None] * 4))
    assert shares == ()
    assert choose(replace(TWO, mask_shares=shares), rule="mask") == Choice(0, "size")


def test_black_of_the_wrong_range_is_no_mask(tmp_path: Path) -> None:
    write_video(tmp_path / "mask.mp4", np.full((4, 128, 160, 3), 16, np.uint8), fps=25)
    assert mask_shares(TWO, tmp_path / "mask.mp4") == ()


def test_a_broken_mask_raises_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "mask.mp4").write_bytes(b"no video")
    with pytest.raises(DecodeError, match=r"mask\.mp4"):
        mask_shares(TWO, tmp_path / "mask.mp4")


def test_no_track_is_the_main_face_where_all_miss_the_mask() -> None:
    assert choose(replace(TWO, mask_shares=(0.0, 0.1)), rule="mask") == Choice(None, "mask", (0.0, 0.1))
    assert choose(replace(TWO, mask_shares=(0.0, 0.2)), rule="mask").track == 1


def test_of_equal_shares_the_larger_face_wins() -> None:
    assert choose(replace(TWO, mask_shares=(0.7, 0.7)), rule="mask").track == 0


def test_without_a_mask_or_by_size_it_is_the_track_of_largest_total_area() -> None:
    assert choose(TWO, rule="mask") == Choice(0, "size")
    assert choose(replace(TWO, mask_shares=(0.0, 1.0)), rule="size") == Choice(0, "size")
    assert choose(faces_with(), rule="mask") == Choice(None, "")


def test_the_partner_rule_takes_the_track_that_lies_on_the_real_face() -> None:
    real = faces_with(still(SMALL, [0, 2]), sampled=[0, 2, 4])
    assert choose(TWO, rule="partner", partner=real) == Choice(1, "partner", (0.0, 1.0))
    # frames 0, 2 are common; the second track is on one of them, and half as high there
    fake = faces_with(still(LARGE), {2: (96.0, 64.0, 128.0, 80.0), 3: SMALL})
    assert choose(fake, rule="partner", partner=real) == Choice(1, "partner", (0.0, 0.25))


def test_the_partners_boxes_are_scaled_to_the_fakes_size() -> None:
    real = faces_with(still((192.0, 128.0, 256.0, 192.0)), size=(320, 256))
    assert choose(TWO, rule="partner", partner=real) == Choice(1, "partner", (0.0, 1.0))


@pytest.mark.parametrize(
    "partner",
    [
        None,
        faces_with(),
        faces_with(still(SMALL, [5]), sampled=[5]),  # no common frame
        faces_with(still((140.0, 100.0, 150.0, 110.0))),  # nobody is there
    ],
)
def test_a_partner_that_says_nothing_leaves_the_choice_to_size(partner: VideoFaces | None) -> None:
    assert choose(TWO, rule="partner", partner=partner) == Choice(0, "size")


def video(key: str, *, mask: Path | None = None, partner: str | None = None) -> Video:
    label = REAL if key.startswith("real") else FAKE
    return Video(key=key, path=Path(key), corpus="test", label=label, method="m", mask=mask, partner=partner)


@pytest.fixture
def extraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeExtraction:
    """Extraction that finds TWO in every video, of which there are two in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("real", "fake"):
        Path(name).touch()
    return FakeExtraction(lambda path, settings: replace(TWO, source=SourceFile.of(path)))


def test_mask_shares_survive_the_store_and_a_file_without_them_has_none(store: FaceStore) -> None:
    for shares in (None, (), (0.25, 1 / 3)):
        store.write("a", replace(TWO, mask_shares=shares))
        assert store.read("a").mask_shares == shares


def test_shares_added_later_leave_rows_and_library_versions_alone(store: FaceStore) -> None:
    store.write("a", TWO)
    before, about = store.read("a").table, read_about(store.path_of("a"))
    assert store.lacks_mask_shares("a")
    store.add_mask_shares("a", (0.0, 1.0))
    assert not store.lacks_mask_shares("a")
    assert store.read("a").table.equals(before)
    assert read_about(store.path_of("a")) == about | {"mask_shares": [0.0, 1.0]}


def test_the_manifest_says_which_track_was_chosen_and_by_what(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
) -> None:
    mask = mask_film(tmp_path / "mask.mp4", *[SMALL] * 4)
    rows = extract_corpus(store, [video("real"), video("fake", mask=mask, partner="real")]).rows
    assert rows == pq.read_table(store.root / "manifest.parquet").to_pylist()
    assert [(row["main"], row["main_by"]) for row in rows] == [(0, "size"), (1, "mask")]
    assert [[t["share"] for t in row["tracks"]] for row in rows] == [[None, None], [0.0, 1.0]]


def test_a_fake_whose_manipulated_face_was_missed_is_counted_and_listed(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mask = mask_film(tmp_path / "mask.mp4", *[(64.0, 96.0, 96.0, 128.0)] * 4)
    with caplog.at_level(logging.WARNING):
        (row,) = extract_corpus(store, [video("fake", mask=mask)]).rows
    assert (row["main"], row["main_by"], row["reason"]) == (None, "mask", "")
    assert "1 fakes without their manipulated face" in caplog.text
    with (store.root / "lost.csv").open() as file:
        assert [list(line.values()) for line in csv.DictReader(file)] == [
            ["fake", "4", "0", "manipulated face missed", MISSED.format(0)]
        ]


def test_masks_that_came_later_are_looked_at_without_new_detection(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
) -> None:
    assert extract_corpus(store, [video("fake")]).rows[0]["main_by"] == "size"
    mask = mask_film(tmp_path / "mask.mp4", *[SMALL] * 4)
    (row,) = extract_corpus(store, [video("fake", mask=mask)]).rows
    assert (row["main"], row["main_by"]) == (1, "mask")
    mask.unlink()  # nobody looks at it again
    assert extract_corpus(store, [video("fake", mask=mask)]).rows == [row]
    assert extracted == ["fake"]


def test_an_unreadable_mask_is_reported_and_costs_only_the_mask_shares(
    store: FaceStore,
    extract_corpus: ExtractCorpus,
    extracted: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mask = tmp_path / "mask.mp4"
    mask.write_bytes(b"no video")
    for _ in range(2):  # when extracting, and as one that came later
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            (row,) = extract_corpus(store, [video("fake", mask=mask)]).rows
        assert (row["main"], row["main_by"], row["face_frames"]) == (0, "size", 4)
        assert "1 masks could not be read" in caplog.text
        assert caplog.text.count("mask.mp4: not a readable video") == 1
    mask_film(mask, *[SMALL] * 4)  # mended
    assert extract_corpus(store, [video("fake", mask=mask)]).rows[0]["main"] == 1
    assert extracted == ["fake"]


def test_the_partner_is_looked_for_among_the_videos_of_the_manifest(store: FaceStore) -> None:
    store.write("real", faces_with(still(SMALL)))
    store.write("fake", TWO)
    pair = [video("real"), video("fake", partner="real")]
    rows = store.write_manifest(pair, {}, "partner")
    assert [(row["main"], row["main_by"]) for row in rows] == [(0, "size"), (1, "partner")]
    assert [t["share"] for t in rows[1]["tracks"]] == [0.0, 1.0]
    assert store.write_manifest(pair[1:], {}, "partner")[0]["main_by"] == "size"
    assert store.write_manifest(pair, {"real": "broken"}, "partner")[1]["main_by"] == "size"


def test_an_unknown_rule_is_an_error_before_any_work(
    store: FaceStore, extract_corpus: ExtractCorpus, extracted: list[str]
) -> None:
    with pytest.raises(UserError, match=r"data\.main_face=biggest: must be one of mask, partner, size"):
        extract_corpus(store, [video("real")], main_face="biggest")
    with pytest.raises(UserError, match=r"data\.main_face=biggest"):
        store.write_manifest([], {}, "biggest")
    assert extracted == []
