import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deepfake.corpora.dfdc import dfdc_corpus
from deepfake.corpora.protocols import apply_protocol
from deepfake.errors import UserError

Touch = Callable[[Path, Iterable[str]], Path]


def part(root: Path, touch: Touch, folder: str, reals: Iterable[str], fakes: dict[str, str]) -> None:
    touch(root / folder, [f"{name}.mp4" for name in (*reals, *fakes)])
    about = {f"{name}.mp4": {"label": "REAL", "split": "train", "original": None} for name in reals}
    about |= {
        f"{name}.mp4": {"label": "FAKE", "split": "train", "original": f"{of}.mp4"}
        for name, of in fakes.items()
    }
    (root / folder / "metadata.json").write_text(json.dumps(about))


def small(root: Path, touch: Touch) -> Path:
    part(root, touch, "dfdc_train_part_0", ["aaa", "bbb"], {"ccc": "aaa", "ddd": "eee"})
    part(root, touch, "dfdc_train_part_10/dfdc_train_part_10", ["eee"], {"fff": "bbb"})
    return root


def test_labels_and_originals_come_from_the_metadata_of_all_parts(tmp_path: Path, touch: Touch) -> None:
    corpus = dfdc_corpus(small(tmp_path, touch))
    videos = {v.key: (v.label, v.method, v.clip, v.partner) for v in corpus.videos}
    inner = "dfdc_train_part_10/dfdc_train_part_10"
    assert videos == {
        "dfdc_train_part_0/aaa": (0, "real", "dfdc:aaa", None),
        "dfdc_train_part_0/bbb": (0, "real", "dfdc:bbb", None),
        "dfdc_train_part_0/ccc": (1, "dfdc", "dfdc:aaa", "dfdc_train_part_0/aaa"),
        "dfdc_train_part_0/ddd": (1, "dfdc", "dfdc:eee", f"{inner}/eee"),
        f"{inner}/eee": (0, "real", "dfdc:eee", None),
        f"{inner}/fff": (1, "dfdc", "dfdc:bbb", "dfdc_train_part_0/bbb"),
    }


def test_without_the_test_folder_fakes_stay_with_their_originals(tmp_path: Path, touch: Touch) -> None:
    corpus = dfdc_corpus(small(tmp_path, touch))
    with pytest.raises(UserError, match=r"data\.protocol=official: .*labels\.csv"):
        apply_protocol(corpus, "official")
    splits: dict[str | None, set[str | None]] = {}
    for video in apply_protocol(corpus).videos:
        splits.setdefault(video.clip, set()).add(video.split)
    assert {len(found) for found in splits.values()} == {1}


def test_the_official_split_is_by_folder_with_labels_of_either_form(tmp_path: Path, touch: Touch) -> None:
    root = small(tmp_path, touch)
    touch(root, ["validation/ggg.mp4", "validation/hhh.mp4", "test/iii.mp4", "test/jjj.mp4"])
    (root / "validation" / "labels.csv").write_text("filename,label\nggg.mp4,1\nhhh.mp4,0\n")
    (root / "test" / "metadata.json").write_text(
        json.dumps({"iii.mp4": {"is_fake": 1}, "jjj.mp4": {"is_fake": 0}})
    )
    protocol = apply_protocol(dfdc_corpus(root), "official")
    found = {v.key: (v.split, v.label) for v in protocol.videos if not v.key.startswith("dfdc_")}
    assert found == {
        "validation/ggg": ("val", 1),
        "validation/hhh": ("val", 0),
        "test/iii": ("test", 1),
        "test/jjj": ("test", 0),
    }
    assert {v.split for v in protocol.videos if v.key.startswith("dfdc_")} == {"train"}


def test_a_part_below_the_padded_name_of_its_archive_is_found(tmp_path: Path, touch: Touch) -> None:
    part(tmp_path, touch, "dfdc_train_part_00/dfdc_train_part_0", ["aaa"], {})
    part(tmp_path, touch, "dfdc_train_part_01", ["bbb"], {})
    keys = [v.key for v in dfdc_corpus(tmp_path).videos]
    assert keys == ["dfdc_train_part_00/dfdc_train_part_0/aaa", "dfdc_train_part_01/bbb"]


def test_an_empty_test_folder_is_no_official_split(tmp_path: Path, touch: Touch) -> None:
    root = small(tmp_path, touch)
    (root / "test").mkdir()
    corpus = dfdc_corpus(root)
    assert corpus.splits == {}
    assert corpus.unavailable == {
        "official": f"the test videos with their labels.csv are not in {root / 'test'}"
    }


def test_a_test_video_has_no_known_original_and_either_file_may_label_it(
    tmp_path: Path, touch: Touch
) -> None:
    root = touch(small(tmp_path, touch), ["test/aaa.mp4", "test/zzz.mp4"])
    (root / "test" / "labels.csv").write_text("filename,label\naaa.mp4,1\nzzz.mp4,0\n")
    (root / "test" / "metadata.json").write_text(json.dumps({"aaa.mp4": {"is_fake": 1}}))
    videos = [v for v in dfdc_corpus(root).videos if v.key.startswith("test/")]
    assert [(v.key, v.label, v.clip, v.partner) for v in videos] == [
        ("test/aaa", 1, None, None),
        ("test/zzz", 0, None, None),
    ]


def test_missing_and_unknown_files_are_counted_and_named(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    root = small(tmp_path, touch)
    (root / "dfdc_train_part_0" / "ccc.mp4").unlink()
    touch(root / "dfdc_train_part_0", ["xyz.mp4"])
    first = dfdc_corpus(root).counts[0]
    assert (first.present, first.expected, first.missing, first.unknown) == (3, 4, ("ccc.mp4",), ("xyz.mp4",))
    assert "1 videos of dfdc_train_part_0" in caplog.text
    assert "ccc.mp4" in caplog.text
    assert "1 files of dfdc_train_part_0" in caplog.text
    assert "xyz.mp4" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", r"metadata\.json: .*JSON"),
        ('["a.mp4"]', r"metadata\.json: not like"),
        ('{"a.mp4": {"label": "FAKE", "original": 5}}', r"a\.mp4 has the original 5"),
        ('{"a.mp4": {"label": "DOUBT"}}', r"a\.mp4 has the label 'DOUBT'"),
    ],
)
def test_bad_metadata_are_named(tmp_path: Path, touch: Touch, text: str, message: str) -> None:
    root = small(tmp_path, touch)
    (root / "dfdc_train_part_0" / "metadata.json").write_text(text)
    with pytest.raises(UserError, match=message):
        dfdc_corpus(root)


def test_a_folder_without_metadata_and_a_wrong_root_are_named(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, ["dfdc_train_part_3/aaa.mp4", "empty/x"])
    with pytest.raises(UserError, match=r"dfdc_train_part_3: .*metadata\.json"):
        dfdc_corpus(tmp_path)
    with pytest.raises(UserError, match=r"(.|\n)*<root>/dfdc_train_part_0/metadata\.json"):
        dfdc_corpus(tmp_path / "empty")


def test_the_preview_knows_its_people_and_its_split(tmp_path: Path, touch: Touch) -> None:
    entries = {
        "original_videos/11/11_A.mp4": {"label": "real", "set": "train"},
        "original_videos/22/22_A.mp4": {"label": "real", "set": "test", "target_id": "22"},
        "method_A/11/33/11_33_A.mp4": {
            "label": "fake",
            "set": "train",
            "target_id": "11",
            "swapped_id": "33",
        },
        "method_B/22/44/22_44_A.mp4": {"label": "fake", "set": "test", "target_id": "22", "swapped_id": "44"},
        "method_B/22/44/gone.mp4": {"label": "fake", "set": "test", "target_id": "22", "swapped_id": "44"},
    }
    touch(tmp_path, list(entries)[:4])
    (tmp_path / "dataset.json").write_text(json.dumps(entries))
    corpus = dfdc_corpus(tmp_path)
    assert {v.key: (v.method, v.identities) for v in corpus.videos} == {
        "original_videos/11/11_A": ("real", ("dfdcp:11",)),
        "original_videos/22/22_A": ("real", ("dfdcp:22",)),
        "method_A/11/33/11_33_A": ("method_A", ("dfdcp:11", "dfdcp:33")),
        "method_B/22/44/22_44_A": ("method_B", ("dfdcp:22", "dfdcp:44")),
    }
    assert [corpus.splits["official"][v.key] for v in corpus.videos] == ["train", "test", "train", "test"]
    assert [(c.name, c.present, c.expected, len(c.missing)) for c in corpus.counts] == [
        ("original_videos", 1 + 1, 1131, 0),
        ("method_A", 1, 3975, 0),
        ("method_B", 1, 144, 1),
    ]


def test_preview_files_that_dataset_json_does_not_name_are_counted(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, ["original_videos/11/a.mp4", "original_videos/11/b.mp4"])
    (tmp_path / "dataset.json").write_text(
        json.dumps({"original_videos/11/a.mp4": {"label": "real", "set": "train"}})
    )
    corpus = dfdc_corpus(tmp_path)
    assert [c.unknown for c in corpus.counts] == [("original_videos/11/b.mp4",), (), ()]
    assert "original_videos/11/b.mp4" in caplog.text


@pytest.mark.parametrize(
    ("name", "about", "message"),
    [
        (
            "a.mp4",
            {"label": "real", "set": "train"},
            r"a\.mp4 ",
        ),
        (
            "method_A/1/a.mp4",
            {"label": "fake", "set": "val"},
            "has the set 'val'",
        ),
        ("method_A/1/a.mp4", {"set": "test"}, r"method_A/1/a\.mp4 has the label None"),
    ],
)
def test_a_bad_preview_entry_is_named(
    tmp_path: Path, touch: Touch, name: str, about: dict[str, str], message: str
) -> None:
    touch(tmp_path, [name])
    (tmp_path / "dataset.json").write_text(json.dumps({name: about}))
    with pytest.raises(UserError, match=message):
        dfdc_corpus(tmp_path)


@pytest.mark.parametrize("name", ["train_sample_videos", "part0", "DFDC_train_part_7"])
def test_a_part_of_another_name_is_explained(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    part(tmp_path, touch, name, ["aaa"], {"bbb": "aaa"})
    touch(tmp_path, ["test_videos/ccc.mp4"])
    with pytest.raises(UserError, match=f"{name}.*dfdc_train_part_0"):
        dfdc_corpus(tmp_path)
    part(tmp_path, touch, "dfdc_train_part_0", ["ddd"], {"eee": "ddd"})
    assert len(dfdc_corpus(tmp_path).videos) == 2
    assert name in caplog.text
    assert "dfdc_train_part_1`" in caplog.text


def test_a_part_given_as_the_root_is_explained(tmp_path: Path, touch: Touch) -> None:
    part(tmp_path, touch, "dfdc_train_part_17", ["aaa"], {"bbb": "aaa"})
    with pytest.raises(UserError, match=f"{tmp_path}$"):
        dfdc_corpus(tmp_path / "dfdc_train_part_17")
    part(tmp_path, touch, "train_sample_videos", ["aaa"], {"bbb": "aaa"})
    with pytest.raises(UserError, match=r"train_sample_videos: .*dfdc_train_part_0"):
        dfdc_corpus(tmp_path / "train_sample_videos")


def test_linked_folders_of_the_preview_are_followed(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "far", ["a.mp4", "b.mp4", "._b.mp4"])
    root = touch(tmp_path / "data", ["original_videos/22/c.mp4"])
    (root / "original_videos/11").symlink_to(tmp_path / "far")
    (tmp_path / "far/ring").symlink_to(root)
    (root / "dataset.json").write_text(
        json.dumps({"original_videos/11/a.mp4": {"label": "real", "set": "train"}})
    )
    assert dfdc_corpus(root).counts[0].unknown == ("original_videos/11/b.mp4", "original_videos/22/c.mp4")
