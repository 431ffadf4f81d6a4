from pathlib import Path

import pytest

from deepfake.corpora.folder import folder_corpus
from deepfake.corpora.protocols import apply_protocol
from deepfake.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_labels_and_methods_come_from_the_folders(tmp_path: Path) -> None:
    root = touch(
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
        for v in folder_corpus(touch(tmp_path, "real/a.mp4", "fake/real/b.mp4")).videos
    }
    assert videos["fake/real/b"] == (1, "fake")


def test_two_files_of_one_name_keep_their_suffix_in_the_key(tmp_path: Path) -> None:
    root = touch(tmp_path, "real/a.mp4", "real/a.avi", "real/b.mp4", "fake/a.mp4")
    assert [v.key for v in folder_corpus(root).videos] == ["fake/a", "real/a.avi", "real/a.mp4", "real/b"]


def test_people_known_from_the_names_stay_in_one_split(tmp_path: Path) -> None:
    names = [f"real/id{i}_0000.mp4" for i in range(12)] + [
        f"fake/id{i}_id{i ^ 1}_0000.mp4" for i in range(12)
    ]
    split_of = {v.path.stem: v.split for v in apply_protocol(folder_corpus(touch(tmp_path, *names))).videos}
    for i in range(12):
        assert split_of[f"id{i}_id{i ^ 1}_0000"] == split_of[f"id{i}_0000"] == split_of[f"id{i ^ 1}_0000"]
    assert set(split_of.values()) == {"train", "val", "test"}


def test_folders_named_after_splits_are_the_split(tmp_path: Path) -> None:
    names = [f"{split}/{kind}/{split}.mp4" for split in ("train", "val", "test") for kind in ("real", "fake")]
    videos = apply_protocol(folder_corpus(touch(tmp_path, *names))).videos
    assert {v.path.stem for v in videos} == {"train", "val", "test"}
    assert all(v.split == v.path.stem for v in videos)


def test_another_layout_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        folder_corpus(tmp_path / "nowhere")
    touch(tmp_path, "originals/a.mp4", "real/b.mp4")
    with pytest.raises(UserError, match=r"1 real and 0 fake videos found; .* it holds: originals, real"):
        folder_corpus(tmp_path)
