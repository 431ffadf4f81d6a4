import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deepfake.corpora.ffpp import METHODS, ffpp_corpus
from deepfake.corpora.leakage import audit
from deepfake.corpora.protocols import apply_protocol
from deepfake.errors import UserError
from deepfake.records import Video


def listed(root: Path, **selection: Any) -> list[Video]:
    return list(apply_protocol(ffpp_corpus(root, **selection)).videos)


def tree(root: Path, files: dict[str, list[str]]) -> Path:
    for folder, stems in files.items():
        (root / folder / "videos").mkdir(parents=True, exist_ok=True)
        for stem in stems:
            (root / folder / "videos" / f"{stem}.mp4").touch()
    return root


def small(root: Path) -> Path:
    pair = ["000_001", "001_000"]
    return tree(
        root,
        {
            "original_sequences/youtube/c23": ["000", "001", "002", "003", "004", "005"],
            "manipulated_sequences/Deepfakes/c23": [*pair, "002_003"],
            "manipulated_sequences/Face2Face/c23": pair,
            "manipulated_sequences/Face2Face/c40": pair,
        },
    )


def write_lists(folder: Path, **pairs: list[list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in pairs.items():
        (folder / f"{name}.json").write_text(json.dumps(values))


def test_fakes_of_two_methods_with_one_name_are_two_videos(tmp_path: Path) -> None:
    videos = {v.key: v for v in listed(small(tmp_path))}
    assert len(videos) == 11
    fake = videos["Face2Face/c23/000_001"]
    assert (fake.label, fake.method, fake.partner) == (1, "Face2Face", "youtube/c23/000")
    assert fake.identities == ("ffpp:000", "ffpp:001")
    assert videos["youtube/c23/000"].label == 0


def test_the_official_lists_are_found_and_a_fake_between_two_splits_is_left_out(tmp_path: Path) -> None:
    root = small(tmp_path)
    write_lists(root / "splits", train=[["000", "001"]], val=[["002", "004"]], test=[["003", "005"]])
    protocol = apply_protocol(ffpp_corpus(root))
    split_of = {v.key: v.split for v in protocol.videos}
    assert split_of["Deepfakes/c23/000_001"] == split_of["youtube/c23/001"] == "train"
    assert (split_of["youtube/c23/002"], split_of["youtube/c23/003"]) == ("val", "test")
    assert "Deepfakes/c23/002_003" not in split_of
    assert protocol.name == "ffpp_c23/official"
    assert protocol.dropped == {"Deepfakes/c23/002_003": "the official protocol does not place it"}


def test_without_lists_the_split_is_by_person_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split_of = {v.key: v.split for v in listed(small(tmp_path))}
    assert split_of["youtube/c23/000"] == split_of["youtube/c23/001"] == split_of["Face2Face/c23/001_000"]
    assert "NOT the official split" in caplog.text


def test_videos_cut_from_one_youtube_film_stay_together(tmp_path: Path) -> None:
    root = tree(tmp_path, {"original_sequences/youtube/c23": ["000", "001", "002", "003"]})
    (root / "conversion_dict.json").write_text(json.dumps({"000": "abc 0", "003": "abc 1", "001": "xyz 0"}))
    split_of = {v.key[-3:]: v.split for v in listed(root)}
    assert split_of["000"] == split_of["003"]


def test_methods_not_on_disk_and_leftovers_of_a_download_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    root = small(tmp_path)
    (root / "manipulated_sequences/Deepfakes/c23/videos/tmp3f9").touch()
    (root / "manipulated_sequences/Deepfakes/c23/videos/000_001 (1).mp4").touch()
    methods = Counter(v.method for v in listed(root, methods=METHODS))
    assert methods == {"real": 6, "Deepfakes": 3, "Face2Face": 2}
    assert "FaceShifter/c23" in caplog.text
    assert "2 files of" in caplog.text


@pytest.mark.parametrize("folder", ["raw", "c0"])
def test_raw_and_c0_are_one_compression_and_the_older_layout_is_known(tmp_path: Path, folder: str) -> None:
    root = tree(
        tmp_path,
        {
            f"original_sequences/{folder}": ["000", "001", "002", "003"],
            f"manipulated_sequences/Deepfakes/{folder}": ["000_001"],
        },
    )
    keys = [v.key for v in listed(root, compression="raw")]
    assert keys == [
        "Deepfakes/raw/000_001",
        "youtube/raw/000",
        "youtube/raw/001",
        "youtube/raw/002",
        "youtube/raw/003",
    ]


def test_an_empty_raw_folder_does_not_hide_c0(tmp_path: Path) -> None:
    root = tree(tmp_path, {"original_sequences/youtube/c0": ["000", "001", "002"]})
    (root / "original_sequences/youtube/raw/videos").mkdir(parents=True)
    assert len(listed(root, compression="raw", methods=[])) == 3


def test_deepfakedetection_has_its_own_reals_and_is_all_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = "walking_outside_cafe_disgusted"
    root = tree(
        small(tmp_path),
        {
            "original_sequences/actors/c23": [f"01__{scene}", f"02__{scene}"],
            "manipulated_sequences/DeepFakeDetection/c23": [
                f"01_02__{scene}__YVGY8LOK",
                f"03_02__{scene}__YVGY8LOK",
            ],
        },
    )
    videos = {v.key: v for v in listed(root, methods=["DeepFakeDetection"])}
    assert Counter((v.label, v.split) for v in videos.values()) == {(0, "test"): 2, (1, "test"): 2}
    fake = videos[f"DeepFakeDetection/c23/01_02__{scene}__YVGY8LOK"]
    assert (fake.partner, fake.identities) == (f"actors/c23/01__{scene}", ("dfd:01", "dfd:02"))
    assert videos[f"DeepFakeDetection/c23/03_02__{scene}__YVGY8LOK"].partner is None
    assert "all its 4 videos" in caplog.text
    both = Counter(v.method for v in listed(root, methods=["Deepfakes", "DeepFakeDetection"]))
    assert both == {"real": 8, "Deepfakes": 3, "DeepFakeDetection": 2}


def test_the_flat_mirror_of_c23_has_the_keys_of_the_official_layout(tmp_path: Path) -> None:
    for folder, stem in (
        ("original", "000"),
        ("original", "001"),
        ("original", "002"),
        ("original", "003"),
        ("Deepfakes", "000_001"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{stem}.mp4").touch()
    keys = [v.key for v in listed(tmp_path)]
    assert keys == [
        "Deepfakes/c23/000_001",
        "youtube/c23/000",
        "youtube/c23/001",
        "youtube/c23/002",
        "youtube/c23/003",
    ]


def test_a_split_list_that_is_no_json_is_named(tmp_path: Path) -> None:
    root = small(tmp_path)
    for name in ("train", "val", "test"):
        (root / f"{name}.json").write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"train\.json: .*JSON"):
        listed(root)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.json", "[[1, 2]]", r"train\.json: not a list of pairs"),
        ("train.json", "[]", r"train\.json: not a list of pairs"),
        ("conversion_dict.json", '{"000": null}', r"conversion_dict\.json: not like"),
    ],
)
def test_a_list_of_something_else_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    root = small(tmp_path)
    write_lists(root, train=[["000", "001"]], val=[["002", "003"]], test=[["004", "005"]])
    (root / name).write_text(text)
    with pytest.raises(UserError, match=message):
        ffpp_corpus(root)


def test_wrong_values_and_an_empty_root_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.compression=c24"):
        listed(tmp_path, compression="c24")
    with pytest.raises(UserError, match=r"data\.methods: .*DeepFake;"):
        listed(tmp_path, methods=["DeepFake"])
    with pytest.raises(UserError, match=r"c23(.|\n)*youtube/c23/videos"):
        listed(tmp_path)


def test_the_whole_dataset_has_its_official_counts(whole_ffpp: Path) -> None:
    corpus = ffpp_corpus(whole_ffpp, methods=METHODS[:5])
    assert [(c.present, c.expected, c.missing, c.unknown) for c in corpus.counts] == [
        (1000, 1000, (), ())
    ] * 6
    protocol = apply_protocol(corpus, "official")
    assert protocol.dropped == {}
    counts = Counter((v.method, v.split) for v in protocol.videos)
    for method in ("real", *METHODS[:5]):
        assert [counts[method, name] for name in ("train", "val", "test")] == [720, 140, 140]


def test_seven_youtube_films_cross_the_official_split_and_nobody_crosses_the_strict_one(
    whole_ffpp: Path,
) -> None:
    corpus = ffpp_corpus(whole_ffpp)
    official = audit(apply_protocol(corpus, "official").videos)
    assert [official[place]["footage"].shared for place in ("test in train", "val in train")] == [2, 5]
    assert [official[place]["identities"].shared for place in official] == [0, 0, 0]
    strict = apply_protocol(corpus, "strict")
    assert strict.dropped == {}
    assert {s.shared for shares in audit(strict.videos).values() for s in shares.values()} == {0}


def test_somebodys_own_lists_beside_the_whole_dataset_are_not_official(
    whole_ffpp: Path, tmp_path: Path
) -> None:
    write_lists(tmp_path, train=[["000", "001"]], val=[["002", "003"]], test=[["004", "005"]])
    with pytest.raises(UserError, match=r"'train': 1, .*'train': 360"):
        ffpp_corpus(whole_ffpp, split_dir=tmp_path)


def test_the_films_are_found_beside_the_videos_too(whole_ffpp: Path, lists: Path, tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.json").write_bytes((lists / "ffpp" / f"{name}.json").read_bytes())
    assert all(v.footage for v in ffpp_corpus(whole_ffpp, split_dir=tmp_path).videos)


def test_masks_are_found_beside_their_method(tmp_path: Path) -> None:
    root = small(tmp_path)
    tree(root, {"manipulated_sequences/Deepfakes/masks": ["000_001", "001_000"]})
    videos = {v.key: v for v in listed(root)}
    mask = root / "manipulated_sequences/Deepfakes/masks/videos/000_001.mp4"
    assert videos["Deepfakes/c23/000_001"].mask == mask
    assert videos["Deepfakes/c23/002_003"].mask is videos["Face2Face/c23/000_001"].mask is None
    assert {c.name: c.present for c in ffpp_corpus(root).counts}["Deepfakes/masks"] == 2


def test_another_compression_on_disk_is_named(tmp_path: Path) -> None:
    tree(tmp_path, {"original_sequences/youtube/c23": ["000"]})
    with pytest.raises(UserError, match=r"c40.*data\.compression=c23"):
        ffpp_corpus(tmp_path, compression="c40")


def test_the_four_real_videos_can_train_validate_and_test(ffpp_videos: Path) -> None:
    videos = listed(ffpp_videos)
    assert len(videos) == 4
    assert sorted(v.key for v in videos if v.split == "train") == ["Deepfakes/c23/519_515", "youtube/c23/519"]
    assert {v.split for v in videos} == {"train", "val", "test"}
