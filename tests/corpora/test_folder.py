from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deepfake.corpora.folder import csv_corpus, folder_corpus
from deepfake.corpora.protocols import apply_protocol
from deepfake.errors import UserError

Touch = Callable[[Path, Iterable[str]], Path]


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_labels_and_methods_come_from_the_folders(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        *("Real/a.mp4", "Real/deep/b.MOV", "fake/c.webm", "fake/swap/d.mkv", "fake/swap/more/e.avi"),
        *("fake/swap/notes.txt", "other/f.mp4", "fake/._c.webm"),  # the last as macOS leaves it
    )
    videos = {v.key: (v.label, v.method) for v in folder_corpus(root).videos}
    assert videos == {
        "Real/a": (0, "real"),
        "Real/deep/b": (0, "real"),
        "fake/c": (1, "fake"),
        "fake/swap/d": (1, "swap"),
        "fake/swap/more/e": (1, "swap"),
    }


def test_a_fake_in_a_folder_called_real_is_a_fake_of_no_method(tmp_path: Path) -> None:
    videos = {
        v.key: (v.label, v.method)
        for v in folder_corpus(tree(tmp_path, "real/a.mp4", "fake/real/b.mp4")).videos
    }
    assert videos["fake/real/b"] == (1, "fake")


def test_two_files_of_one_name_keep_their_suffix_in_the_key(tmp_path: Path) -> None:
    root = tree(tmp_path, "real/a.mp4", "real/a.avi", "real/b.mp4", "fake/a.mp4")
    assert [v.key for v in folder_corpus(root).videos] == ["fake/a", "real/a.avi", "real/a.mp4", "real/b"]


def test_people_known_from_the_names_stay_in_one_split(tmp_path: Path) -> None:
    names = [f"real/id{i}_0000.mp4" for i in range(12)] + [
        f"fake/id{i}_id{i ^ 1}_0000.mp4" for i in range(12)
    ]
    split_of = {v.path.stem: v.split for v in apply_protocol(folder_corpus(tree(tmp_path, *names))).videos}
    for i in range(12):
        assert split_of[f"id{i}_id{i ^ 1}_0000"] == split_of[f"id{i}_0000"] == split_of[f"id{i ^ 1}_0000"]
    assert set(split_of.values()) == {"train", "val", "test"}


def test_folders_named_after_splits_are_the_split(tmp_path: Path) -> None:
    names = [f"{split}/{kind}/{split}.mp4" for split in ("train", "val", "test") for kind in ("real", "fake")]
    videos = apply_protocol(folder_corpus(tree(tmp_path, *names))).videos
    assert {v.path.stem for v in videos} == {"train", "val", "test"}
    assert all(v.split == v.path.stem for v in videos)


def test_another_layout_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        folder_corpus(tmp_path / "nowhere")
    tree(tmp_path, "originals/a.mp4", "real/b.mp4")
    with pytest.raises(UserError, match=r"1 real and 0 fake .*originals, real"):
        folder_corpus(tmp_path)


def test_linked_folders_and_files_are_followed_and_rings_end(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", "real/a.mp4", "fake/own/b.mp4", "fake/aside.mp4")
    tree(tmp_path / "far", "swap/c.mp4", "swap/deep/d.mp4", "e.mp4", "reals/f.mp4")
    (root / "fake/swap").symlink_to("../../far/swap")  # a method
    (root / "fake/own/linked.mp4").symlink_to(tmp_path / "far/e.mp4")
    (root / "fake/own/again").symlink_to("..")  # rings
    (root / "fake/top").symlink_to(root)
    (tmp_path / "far/swap/deep/up").symlink_to("../..")
    (root / "real/more").symlink_to(tmp_path / "far/reals")
    videos = {v.key: (v.label, v.method) for v in folder_corpus(root).videos}
    assert videos == {
        "real/a": (0, "real"),
        "real/more/f": (0, "real"),
        "fake/aside": (1, "fake"),
        "fake/own/b": (1, "own"),
        "fake/own/linked": (1, "own"),
        "fake/swap/c": (1, "swap"),
        "fake/swap/deep/d": (1, "swap"),
    }


def test_linked_classes_and_splits_are_followed(tmp_path: Path) -> None:
    tree(tmp_path / "far", "r/a.mp4", "f/b.mp4")
    for split in ("train", "val"):
        tree(tmp_path / "data", f"{split}/real/{split}.mp4", f"{split}/fake/{split}.mp4")
    tree(tmp_path / "far", "test/fake/c.mp4")
    (tmp_path / "far/test/real").symlink_to("../r")
    (tmp_path / "data/test").symlink_to("../far/test")
    split_of = folder_corpus(tmp_path / "data").splits["official"]
    assert {key for key, split in split_of.items() if split == "test"} == {"test/real/a", "test/fake/c"}


def test_a_file_linked_as_real_and_as_fake_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree(tmp_path, "real/a.mp4", "fake/b.mp4")
    (tmp_path / "fake/m").symlink_to("../real")
    folder_corpus(tmp_path)
    assert str(tmp_path / "real/a.mp4") in caplog.text


def test_files_that_are_not_looked_at_are_counted_by_kind_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree(tmp_path, "real/a.mp4", "fake/b.mp4", "fake/swap/._b.mp4", "._real", ".git/x.py", "real/.DS_Store")
    folder_corpus(tmp_path)
    assert caplog.text == ""
    tree(tmp_path, "notes.txt", "real/c.JPG", "fake/d.jpg", "fake/e.png", "other/f.mp4", "real/README")
    folder_corpus(tmp_path)
    (record,) = caplog.records
    line = record.getMessage()
    assert "6 files" in line
    assert "2 .jpg, 1 .mp4, 1 .png, 1 .txt, 1 without suffix" in line
    assert "predict.py" in line


def test_a_folder_of_pictures_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 real and 0 fake .*predict\.py"):
        folder_corpus(tree(tmp_path, "real/a.jpg", "fake/b.png"))


# Videos listed in a CSV file.


def table(root: Path, touch: Touch, text: str) -> Path:
    touch(root, ["a.mp4", "deep/b.mkv", "deep/b.mp4", "id3_id4_0001.mp4"])
    path = root / "videos.csv"
    path.write_text(text)
    return path


def test_every_column_is_read_in_any_order_and_case(tmp_path: Path, touch: Touch) -> None:
    text = (
        "\ufeffLabel, Path,method,Identity,split\n"
        "REAL,a.mp4,ignored,anna,train\n1,deep/b.mkv,swap,anna;ffpp:003,validation\n"
        f"fake,{tmp_path / 'deep' / 'b.mp4'},,,test\n1,id3_id4_0001.mp4,,,test\n"
    )
    corpus = csv_corpus(table(tmp_path, touch, text))
    assert {v.key: (v.label, v.method, v.identities) for v in corpus.videos} == {
        "a": (0, "real", ("csv:anna",)),
        "deep/b.mkv": (1, "swap", ("csv:anna", "ffpp:003")),
        "deep/b.mp4": (1, "fake", ()),
        "id3_id4_0001": (1, "fake", ("cdf:id3", "cdf:id4")),
    }
    assert corpus.splits["official"] == {
        "a": "train",
        "deep/b.mkv": "val",
        "deep/b.mp4": "test",
        "id3_id4_0001": "test",
    }


def test_without_splits_the_protocol_is_by_person(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, [f"{n}.mp4" for n in range(12)])
    rows = [f"{n}.mp4,{n % 2},p{n // 2}" for n in range(12)]
    corpus = csv_corpus(table(tmp_path, touch, "path,label,identity\n" + "\n".join(rows)))
    protocol = apply_protocol(corpus)
    assert protocol.name == "videos/strict"
    split_of = {v.key: v.split for v in protocol.videos}
    assert all(split_of[str(n)] == split_of[str(n + 1)] for n in range(0, 12, 2))


def test_files_that_are_not_there_are_counted_and_left_out(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = csv_corpus(table(tmp_path, touch, "path,label\na.mp4,0\ngone.mp4,1\n"))
    assert [v.key for v in corpus.videos] == ["a"]
    assert (corpus.counts[0].present, corpus.counts[0].expected, corpus.counts[0].missing) == (
        1,
        2,
        ("gone.mp4",),
    )
    assert "1 of 2 files" in caplog.text
    assert "gone.mp4" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.mp4,0\n", r"videos\.csv: .*file,label"),
        ("path,label\n", r"videos\.csv: .*path,label"),
        ("path,label\na.mp4,2\n", "line 2: .*label '2'"),
        ("path,label\na.mp4,0\na.mp4,1\n", r"line 3: a\.mp4 .*line 2"),
        ("path,label,split\na.mp4,0,dev\n", "line 2: split 'dev'"),
        ("path,label,split\na.mp4,0,train\ndeep/b.mp4,1,\n", "line 3: .* 1 of 2 rows"),
        ("path,label,split\na.mp4,0,train\ngone.mp4,1,dev\n", "line 3: split 'dev'"),
        ("path,label,split\na.mp4,0,train\ngone.mp4,1,\n", "line 3: .* 1 of 2 rows"),
        ("path,label\na.mp4,0\n./deep/../a.mp4,1\n", r"line 3: \./deep/\.\./a\.mp4 .*line 2"),
        ("path,label\na.mp4,0\n,1\n", "line 3: .*path"),
        ("path,label\nx.mp4,0\n", r"videos\.csv: .*1 files"),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path: Path, touch: Touch, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        csv_corpus(table(tmp_path, touch, text))


def test_a_link_is_named_by_its_own_place_and_a_file_elsewhere_by_its_whole_path(
    tmp_path: Path, touch: Touch
) -> None:
    far = touch(tmp_path, ["far/c.mp4"]) / "far" / "c.mp4"
    path = table(tmp_path / "here", touch, f"path,label\none.mp4,0\ntwo.mp4,1\n{far},1\n")
    for name in ("one.mp4", "two.mp4"):
        (path.parent / name).symlink_to(far)
    keys = {v.key for v in csv_corpus(path).videos}
    assert keys == {"one", "two", far.with_suffix("").as_posix().lstrip("/")}


def test_a_folder_for_a_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        csv_corpus(tmp_path)


def test_backslashes_are_explained(tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture) -> None:
    csv_corpus(table(tmp_path, touch, "path,label\na.mp4,0\ndeep\\b.mp4,1\n"))
    assert "write / instead" in caplog.text
    for path in ("deep\\b.mp4", "C:\\films\\b.mp4", ".\\a.mp4"):
        with pytest.raises(UserError, match=r"b\.mp4|a\.mp4") as caught:
            csv_corpus(table(tmp_path, touch, f"path,label\n{path},1\n"))
        assert "write / instead" in str(caught.value)
    caplog.clear()
    csv_corpus(table(tmp_path, touch, "path,label\na.mp4,0\ngone.mp4,1\n"))
    assert "write /" not in caplog.text
