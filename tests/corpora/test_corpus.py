import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deepfake.corpora.corpus import FolderCount, count, list_folder, resolve

Touch = Callable[[Path, Iterable[str]], Path]
NUMBER = re.compile(r"\d{3}")


def test_a_folder_is_found_in_any_case_the_exact_one_first(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, ["A/B/x", "a/b/x", "c/x"])
    assert resolve(tmp_path, "a/b") == tmp_path / "a" / "b"
    assert resolve(tmp_path, "A/b") == tmp_path / "A" / "B"
    assert resolve(tmp_path, "C") == tmp_path / "c"
    assert resolve(tmp_path, "c/x") is None
    assert resolve(tmp_path, "d") is None


def test_the_first_place_with_known_files_is_listed(tmp_path: Path, touch: Touch) -> None:
    touch(
        tmp_path,
        ["first/readme.txt", "second/001.mp4", "second/002.MP4", "second/002.mp4", "second/.003.mp4"],
    )
    touch(tmp_path, ["second/frames/004.mp4", "second/five.mp4", "second/006.mp4.part", "third/007.mp4"])
    listing = list_folder(tmp_path, "x", ["none", "first", "second", "third"], NUMBER)
    assert listing.path == tmp_path / "second"
    assert {stem: path.name for stem, path in listing.files.items()} == {"001": "001.mp4", "002": "002.MP4"}
    assert listing.unknown == ("002.mp4", "006.mp4.part", "five.mp4")


def test_videos_in_a_second_place_are_warned_of(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, ["a/001.mp4", "b/002.mp4", "b/003.mp4"])
    assert set(list_folder(tmp_path, "x", ["a", "b"], NUMBER).files) == {"001"}
    assert f"{tmp_path / 'b'}: 2 videos are not read" in caplog.text


def test_counts_name_what_is_missing_and_what_does_not_belong(tmp_path: Path, touch: Touch) -> None:
    touch(tmp_path, ["x/001.mp4", "x/009.mp4", "x/tmp12"])
    listing = list_folder(tmp_path, "x", ["x"], NUMBER)
    assert count(listing, 2, names={"001", "002"}) == FolderCount("x", 2, 2, ("002",), ("tmp12", "009"))
    assert count(listing, 5, names={"002"}, total_known=False) == FolderCount("x", 2, 5, ("002",), ("tmp12",))
    assert count(listing, None) == FolderCount("x", 2, None, (), ("tmp12",))
    assert count(list_folder(tmp_path, "y", ["y"], NUMBER), 3) == FolderCount("y", 0, 3)
