import logging
import os
from pathlib import Path

import pytest

from deepfake.errors import UserError
from deepfake.prediction.inputs import collect


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files of many names; what is in them does not matter."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.MKV", "notes.txt.bak", "clips/2.mp4", "clips/10.mov", "clips/deep/x.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*given: str, recursive: bool = True) -> list[str]:
    return [str(found.path) for found in collect(list(given), recursive=recursive)]


def test_a_folder_gives_its_videos_and_images_in_order_of_name_with_or_without_those_below(
    here: Path,
) -> None:
    assert names(".") == ["a.MKV", "b.mp4", "clips/10.mov", "clips/2.mp4", "clips/deep/x.png"]
    assert names(".", recursive=False) == ["a.MKV", "b.mp4"]
    assert names(str(here / "clips"), recursive=False) == [
        str(here / "clips/10.mov"),
        str(here / "clips/2.mp4"),
    ]


def test_the_order_is_that_given_and_each_file_comes_once(here: Path) -> None:
    assert names("clips/2.mp4", "b.mp4", ".", "./b.mp4", str(here / "a.MKV")) == [
        "clips/2.mp4",
        "b.mp4",
        "a.MKV",
        "clips/10.mov",
        "clips/deep/x.png",
    ]


def test_a_file_of_any_suffix_is_taken_if_it_is_named(here: Path) -> None:
    assert names("notes.txt.bak") == ["notes.txt.bak"]


def test_patterns(here: Path) -> None:
    assert names("clips/*.mp4") == ["clips/2.mp4"]
    assert names("**/*.m*") == ["b.mp4", "clips/10.mov", "clips/2.mp4"]
    assert names("**/*.mov", "b.*") == ["clips/10.mov", "b.mp4"]
    assert names("clips/[0-9].mp4") == ["clips/2.mp4"]
    assert names(f"{here}/*") == [str(here / name) for name in names(".")]  # notes.txt.bak is no video
    assert names("*.bak") == ["notes.txt.bak"]
    assert names("*", recursive=False) == ["a.MKV", "b.mp4", "clips/10.mov", "clips/2.mp4"]
    assert names("clips/../clips/*.mp4") == ["clips/../clips/2.mp4"]
    with pytest.raises(UserError, match=r"input=clips/\*\.avi: no such file, and none that it matches"):
        collect("clips/*.avi")
    with pytest.raises(UserError, match="not a pattern"):
        collect("clips/**.mp4")


def test_a_file_that_is_there_is_no_pattern_and_no_list(here: Path) -> None:
    for name in ("clips/[12].mp4", "@home.mp4", "~it's, «ü».mp4", "what*.mp4"):
        (here / name).touch()
        assert names(name) == [name]


def test_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert names("~/clips/*.mov") == [str(here / "clips/10.mov")]


@pytest.mark.parametrize(("name", "given"), [("list.txt", "lists/list.txt"), ("all", "@lists/all")])
def test_a_list_names_files_relative_to_itself_and_what_is_missing_is_a_row(
    here: Path, name: str, given: str
) -> None:
    lines = ["\ufeff../b.mp4  ", "", "# ../a.MKV", "gone.mp4", "s3://bucket/x.mp4", str(here / "clips")]
    lines += ["../b.mp4", "../clips/*.mp4"]
    (here / "lists").mkdir()
    (here / "lists" / name).write_text("\r\n".join(lines), encoding="utf-8")
    found = collect(given)
    assert [one.name for one in found] == [
        "lists/../b.mp4",
        "lists/gone.mp4",
        "s3://bucket/x.mp4",
        *(str(here / "clips" / below) for below in ("10.mov", "2.mp4", "deep/x.png")),
        "lists/../clips/*.mp4",
    ]
    assert [one.trouble for one in found if one.trouble] == [
        "lists/gone.mp4: no such file",
        "a URL: copy it here first, for example `aws s3 cp s3://bucket/x.mp4 .`, and give the file",
        "lists/../clips/*.mp4: no such file",
    ]


def test_a_list_may_name_files_in_no_known_encoding(here: Path) -> None:
    odd = os.fsencode(here) + b"/f\xfclm.mp4"
    Path(os.fsdecode(odd)).touch()
    (here / "list.txt").write_bytes(b"f\xfclm.mp4\n")
    (found,) = collect("list.txt")
    assert (found.name, found.trouble) == (r"f\xfclm.mp4", "")
    assert os.fsencode(found.path) == b"f\xfclm.mp4"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://x.org/a.mp4", "download it first, for example `curl -LO https://x.org/a.mp4`"),
        ("s3://bucket/a.mp4", "aws s3 cp s3://bucket/a.mp4"),
        ("rtsp://cam/1", "ffmpeg -i rtsp://cam/1"),
        ("file:///a.mp4", "leave file:// away"),
        ("none.mp4", "input=none.mp4: no such file or folder"),
        ("x" * 300 + ".mp4", "no such file or folder"),
        ("@none", "input=@none: not a readable list"),
        ("@b.mp4.gz", "input=@b.mp4.gz: not a list of files"),
        ("", "input= is empty"),
        (" ", "input= is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_mend(here: Path, given: str, message: str) -> None:
    (here / "b.mp4.gz").write_bytes(bytes(9))
    with pytest.raises(UserError) as caught:
        collect(given)
    assert message in str(caught.value)


def test_nothing_found_is_an_error_and_an_empty_folder_among_others_is_told(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "empty").mkdir()
    with pytest.raises(UserError, match="no video or image in it"):
        collect("empty")
    with caplog.at_level(logging.WARNING):
        assert names("empty", "b.mp4") == ["b.mp4"]
    assert "no video or image in empty" in caplog.text


def test_links_are_followed_and_loops_end(here: Path) -> None:
    (here / "clips/up").symlink_to("..")
    (here / "again").symlink_to("clips")
    assert names("clips/") == [
        "clips/10.mov",
        "clips/2.mp4",
        "clips/deep/x.png",
        "clips/up/a.MKV",
        "clips/up/b.mp4",
    ]
    assert names("**/*.mov") == ["clips/10.mov"]
    (here / "there.mp4").symlink_to("b.mp4")
    (here / "gone.mp4").symlink_to("nowhere")
    found = {str(one.path): one.trouble for one in collect(".", recursive=False)}
    assert found == {
        "a.MKV": "",
        "b.mp4": "",
        "gone.mp4": "gone.mp4: a link to nothing",
        "there.mp4": "",
    }


def test_what_is_no_regular_file_is_not_opened(here: Path) -> None:
    os.mkfifo(here / "pipe.mp4")
    (found,) = collect("pipe.mp4")
    assert found.trouble == "pipe.mp4: not a regular file"


def test_files_that_are_not_looked_at_are_counted_by_kind(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("clips/._2.mp4", "._b.mp4", ".hidden/c.mp4", "clips/.DS_Store"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).touch()
    for name in ("clips/deep/a.TXT", "clips/b.txt", "clips/LICENSE"):
        (here / name).touch()
    assert names(".") == ["a.MKV", "b.mp4", "clips/10.mov", "clips/2.mp4", "clips/deep/x.png"]
    (record,) = caplog.records
    assert "4 files" in record.getMessage()
    assert "2 .txt, 1 .bak, 1 without suffix" in record.getMessage()
    assert names("*.mp4", "**/*.mp4") == ["b.mp4", "clips/2.mp4"]
    assert names("._b.mp4") == ["._b.mp4"]  # what is named is taken


@pytest.mark.parametrize("name", ["clips\\2.mp4", "C:\\films\\2.mp4", ".\\b.mp4"])
def test_backslashes_are_explained(here: Path, name: str) -> None:
    with pytest.raises(UserError, match="write / instead"):
        collect(name)
    (here / "list.txt").write_text(f"{name}\ngone.mp4\n")
    first, second = collect("list.txt")
    assert "write / instead" in first.trouble
    assert "write /" not in second.trouble
