from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deepfake.corpora.folder import table_corpus
from deepfake.corpora.protocols import apply_protocol
from deepfake.errors import UserError

Touch = Callable[[Path, Iterable[str]], Path]


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
    corpus = table_corpus(table(tmp_path, touch, text))
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
    corpus = table_corpus(table(tmp_path, touch, "path,label,identity\n" + "\n".join(rows)))
    protocol = apply_protocol(corpus)
    assert protocol.name == "videos/strict"
    split_of = {v.key: v.split for v in protocol.videos}
    assert all(split_of[str(n)] == split_of[str(n + 1)] for n in range(0, 12, 2))


def test_files_that_are_not_there_are_counted_and_left_out(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = table_corpus(table(tmp_path, touch, "path,label\na.mp4,0\ngone.mp4,1\n"))
    assert [v.key for v in corpus.videos] == ["a"]
    assert (corpus.counts[0].present, corpus.counts[0].expected, corpus.counts[0].missing) == (
        1,
        2,
        ("gone.mp4",),
    )
    assert "1 of 2 files are not there: gone.mp4" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.mp4,0\n", r"its first line must name the columns path,label.*; it is file,label"),
        ("path,label\n", "it has no rows"),
        ("path,label\na.mp4,2\n", "line 2: label '2' is none of real, 0, fake, 1"),
        ("path,label\na.mp4,0\na.mp4,1\n", r"line 3: a\.mp4 stands in line 2 too"),
        ("path,label,split\na.mp4,0,dev\n", "line 2: split 'dev' is none of train, val, test"),
        ("path,label,split\na.mp4,0,train\ndeep/b.mp4,1,\n", "line 3: .* 1 of 2 rows have a split"),
        ("path,label,split\na.mp4,0,train\ngone.mp4,1,dev\n", "line 3: split 'dev' is none of"),
        ("path,label,split\na.mp4,0,train\ngone.mp4,1,\n", "line 3: .* 1 of 2 rows have a split"),
        ("path,label\na.mp4,0\n./deep/../a.mp4,1\n", r"line 3: \./deep/\.\./a\.mp4 stands in line 2 too"),
        ("path,label\na.mp4,0\n,1\n", "line 3: it has no path"),
        ("path,label\nx.mp4,0\n", "none of its 1 files is there; paths are relative to "),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path: Path, touch: Touch, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        table_corpus(table(tmp_path, touch, text))


def test_a_link_is_named_by_its_own_place_and_a_file_elsewhere_by_its_whole_path(
    tmp_path: Path, touch: Touch
) -> None:
    far = touch(tmp_path, ["far/c.mp4"]) / "far" / "c.mp4"
    path = table(tmp_path / "here", touch, f"path,label\none.mp4,0\ntwo.mp4,1\n{far},1\n")
    for name in ("one.mp4", "two.mp4"):
        (path.parent / name).symlink_to(far)
    keys = {v.key for v in table_corpus(path).videos}
    assert keys == {"one", "two", far.with_suffix("").as_posix().lstrip("/")}


def test_a_folder_for_a_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; expected is a CSV"):
        table_corpus(tmp_path)
