from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deepfake.corpora.celebdf import celebdf_corpus
from deepfake.corpora.leakage import audit
from deepfake.corpora.protocols import apply_protocol
from deepfake.errors import UserError

Touch = Callable[[Path, Iterable[str]], Path]
LIST = "List_of_testing_videos.txt"
NAMES = (
    *(f"Celeb-real/id{who}_000{clip}.mp4" for who in (0, 1, 20) for clip in (0, 1)),
    *("YouTube-real/00000.mp4", "YouTube-real/00001.mp4"),
    *("Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id1_id0_0001.mp4"),
    "Celeb-synthesis/id20_id0_0000.mp4",
)
TESTING = "1 YouTube-real/00001.mp4\n1 Celeb-real/id1_0001.mp4\n0 Celeb-synthesis/id1_id0_0001.mp4"


def small(root: Path, touch: Touch, *, testing: str | None = TESTING) -> Path:
    touch(root, NAMES)
    if testing is not None:
        (root / LIST).write_text(testing)
    return root


def by_split(videos: Iterable[object], name: str) -> list[int]:
    """Real, then fake videos of a split."""
    labels = [v.label for v in videos if v.split == name]  # type: ignore[attr-defined]
    return [labels.count(0), labels.count(1)]


def test_labels_come_from_the_folders_and_names_say_who_and_which_clip(tmp_path: Path, touch: Touch) -> None:
    videos = {v.key: v for v in celebdf_corpus(small(tmp_path, touch)).videos}
    assert len(videos) == 11
    fake = videos["v2/Celeb-synthesis/id1_id0_0001"]
    assert (fake.label, fake.method, fake.identities) == (1, "Celeb-synthesis", ("cdf:id1", "cdf:id0"))
    assert (fake.partner, fake.clip) == ("v2/Celeb-real/id1_0001", "cdf:id1_0001")
    assert videos["v2/Celeb-real/id1_0001"].clip == "cdf:id1_0001"
    youtube = videos["v2/YouTube-real/00000"]
    assert (youtube.label, youtube.identities, youtube.clip) == (0, (), None)


def test_the_last_line_of_the_list_counts_without_a_line_break_too(tmp_path: Path, touch: Touch) -> None:
    corpus = celebdf_corpus(small(tmp_path, touch))
    testing = {key for key, split in corpus.splits["official"].items() if split == "test"}
    assert testing == {
        "v2/YouTube-real/00001",
        "v2/Celeb-real/id1_0001",
        "v2/Celeb-synthesis/id1_id0_0001",
    }


def test_folders_are_known_in_any_case_with_and_without_videos_below_and_suffixes_too(
    tmp_path: Path, touch: Touch
) -> None:
    names = (
        *("celeb-REAL/videos/id0_0000.MP4", "Youtube-real/videos/00007.mp4"),
        "Celeb-Synthesis/videos/id0_id1_0000.Mp4",
    )
    corpus = celebdf_corpus(touch(tmp_path, names))
    assert [v.key for v in corpus.videos] == [
        "v2/Celeb-real/id0_0000",
        "v2/Celeb-synthesis/id0_id1_0000",
        "v2/YouTube-real/00007",
    ]


def test_leftovers_and_strange_names_are_named_and_left_out(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    root = small(tmp_path, touch)
    touch(root, ["Celeb-synthesis/tmpx8a3", "Celeb-synthesis/id0_id1_0000.noaudio.mp4", "Celeb-real/me.mp4"])
    corpus = celebdf_corpus(root)
    assert len(corpus.videos) == 11
    assert f"2 files of {root / 'Celeb-synthesis'}" in caplog.text
    unknown = {count.name: count.unknown for count in corpus.counts}
    assert unknown["Celeb-real"] == ("me.mp4",)
    assert unknown["Celeb-synthesis"] == ("id0_id1_0000.noaudio.mp4", "tmpx8a3")


def test_a_list_saved_by_windows_is_the_same_list(tmp_path: Path, touch: Touch) -> None:
    first = celebdf_corpus(small(tmp_path, touch)).splits
    (tmp_path / LIST).write_bytes(b"\xef\xbb\xbf" + TESTING.replace("\n", "\r\n").encode())
    assert celebdf_corpus(tmp_path).splits == first
    (tmp_path / LIST).write_bytes(b"1 Celeb-real/\xff.mp4")
    with pytest.raises(UserError, match=r"List_of_testing_videos\.txt: .*UTF-8"):
        celebdf_corpus(tmp_path)


def test_a_missing_or_empty_folder_is_named_and_the_rest_is_read(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    root = touch(tmp_path, [name for name in NAMES if not name.startswith("YouTube")])
    (root / "YouTube-real").mkdir()
    corpus = celebdf_corpus(root)
    assert {v.key.split("/")[1] for v in corpus.videos} == {"Celeb-real", "Celeb-synthesis"}
    assert "no video of YouTube-real" in caplog.text
    assert {c.name: (c.present, c.expected) for c in corpus.counts}["YouTube-real"] == (0, 300)


def test_listed_videos_that_are_not_on_disk_are_counted(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    celebdf_corpus(small(tmp_path, touch, testing=TESTING + "\n0 Celeb-synthesis/id20_id1_0009.mp4\n"))
    assert "1 videos of List_of_testing_videos.txt" in caplog.text
    assert "Celeb-synthesis/id20_id1_0009" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 Celeb-real/id0_0000.mp4", r"line 1: 0 for Celeb-real/id0_0000\.mp4"),
        ("Celeb-real/id0_0000.mp4", r"line 1: 'Celeb-real/id0_0000\.mp4'"),
        ("1 Celeb-real/holiday.mp4", r"line 1: '1 Celeb-real/holiday\.mp4'"),
    ],
)
def test_a_list_that_contradicts_the_folders_is_refused(
    tmp_path: Path, touch: Touch, line: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        celebdf_corpus(small(tmp_path, touch, testing=line))


def whole_v1(root: Path, touch: Touch) -> Path:
    """As many videos as Celeb-DF v1 has, of its people."""
    people = [*range(5), *range(6, 14), 16, 17]
    reals = [f"Celeb-real/id{who}_{clip:04}.mp4" for clip in range(11) for who in people][:158]
    fakes = [
        f"Celeb-synthesis/id{a}_id{b}_{clip:04}.mp4"
        for clip in range(10)
        for a in people
        for b in people
        if a != b
    ][:795]
    return touch(root, [*reals, *fakes, *(f"YouTube-real/{n:05}.mp4" for n in range(250))])


def test_version_1_is_known_by_what_is_there_and_validation_is_carved_by_clip(
    tmp_path: Path, touch: Touch
) -> None:
    root = whole_v1(tmp_path, touch)
    # a list of a hundred, as version 1 has
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.mp4"))][::12][:100]
    (root / LIST).write_text("\n".join(f"{int('real' in name)} {name}" for name in names))
    corpus = celebdf_corpus(root)
    assert corpus.name == "celebdf_v1"
    assert [(c.present, c.expected) for c in corpus.counts] == [(158, 158), (250, 250), (795, 795)]
    protocol = apply_protocol(corpus, "official")
    assert "by clip" in protocol.notes[0]
    shares = audit(protocol.videos)["val in train"]
    assert (shares["clips"].shared, shares["target_clips"].shared) == (0, 0)
    assert shares["identities"].shared > 0


def test_version_1_has_a_strict_split_that_drops_fakes_only(tmp_path: Path, touch: Touch) -> None:
    corpus = celebdf_corpus(whole_v1(tmp_path, touch))
    protocol = apply_protocol(corpus, "strict")
    assert len(protocol.videos) + len(protocol.dropped) == 158 + 250 + 795
    assert all("Celeb-synthesis" in key for key in protocol.dropped)
    shares = audit(protocol.videos)
    assert {share.shared for overlaps in shares.values() for share in overlaps.values()} == {0}
    assert all(min(by_split(protocol.videos, name)) >= 20 for name in ("train", "val", "test"))


def test_version_1_with_the_list_of_version_2_is_refused(tmp_path: Path, touch: Touch) -> None:
    root = whole_v1(tmp_path, touch)
    (root / LIST).write_text("1 Celeb-real/id44_0003.mp4\n")
    with pytest.raises(UserError, match=r"Celeb-DF v1.*of v2"):
        celebdf_corpus(root)


def test_celeb_df_plus_plus_is_refused_with_an_explanation(tmp_path: Path, touch: Touch) -> None:
    root = small(tmp_path, touch)
    touch(root, ["Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4"])
    with pytest.raises(UserError, match=r"Celeb-DF\+\+ .*Celeb-synthesis/FaceSwap"):
        celebdf_corpus(root)


def test_a_wrong_root_is_told_the_expected_tree_and_what_is_there(tmp_path: Path, touch: Touch) -> None:
    small(tmp_path / "downloads" / "Celeb-DF-v2", touch)
    with pytest.raises(UserError, match=r"data\.root=.*Celeb-DF-v2\?") as caught:
        celebdf_corpus(tmp_path / "downloads")
    assert "<root>/Celeb-synthesis/id0_id1_0000.mp4" in str(caught.value)
    assert str(caught.value).endswith("Celeb-DF-v2/")
    with pytest.raises(UserError, match=r"data\.root=.*Celeb-DF-v2\?"):
        celebdf_corpus(tmp_path / "downloads" / "Celeb-DF-v2" / "Celeb-real")
    with pytest.raises(UserError, match="nowhere"):
        celebdf_corpus(tmp_path / "nowhere")
    touch(tmp_path / "other", ["manipulated_sequences/x"])
    with pytest.raises(UserError, match=r"data=ffpp"):
        celebdf_corpus(tmp_path / "other")


def test_without_the_list_there_is_no_official_split(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = celebdf_corpus(small(tmp_path, touch, testing=None))
    with pytest.raises(UserError, match=r"data\.protocol=official: put List_of_testing_videos\.txt"):
        apply_protocol(corpus, "official")
    assert apply_protocol(corpus).name == "celebdf_v2/strict"
    assert "NOT the official split" in caplog.text


def test_the_whole_of_version_2_has_its_official_counts(whole_celebdf: Path) -> None:
    corpus = celebdf_corpus(whole_celebdf)
    assert corpus.name == "celebdf_v2"
    assert [(c.present, c.expected, c.missing, c.unknown) for c in corpus.counts] == [
        (590, 590, (), ()),
        (300, 300, (), ()),
        (5639, 5639, (), ()),
    ]
    protocol = apply_protocol(corpus, "official")
    assert protocol.dropped == {}
    assert by_split(protocol.videos, "test") == [178, 340]
    # validation is one of the small groups of people that swap faces among themselves
    assert by_split(protocol.videos, "train") == [605, 4594]
    assert by_split(protocol.videos, "val") == [107, 705]


def test_a_shortened_list_beside_the_whole_dataset_is_refused(whole_celebdf: Path, tmp_path: Path) -> None:
    for folder in ("Celeb-real", "YouTube-real", "Celeb-synthesis"):
        (tmp_path / folder).symlink_to(whole_celebdf / folder)
    lines = (whole_celebdf / LIST).read_text().splitlines()
    (tmp_path / LIST).write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match=r"517 .*518"):
        celebdf_corpus(tmp_path)


def test_the_official_split_of_version_2_shows_people_and_footage_of_train(whole_celebdf: Path) -> None:
    overlaps = audit(apply_protocol(celebdf_corpus(whole_celebdf), "official").videos)
    seen = {name: (s.shared, s.of) for name, s in overlaps["test in train+val"].items()}
    assert seen == {
        "identities": (56, 56),
        "ordered_pairs": (340, 340),
        "target_clips": (234, 340),
        "real_clips": (97, 108),
        "clips": (261, 272),
        "footage": (0, 0),
        "unnamed": (0, 70),
    }
    assert {share.shared for share in overlaps["val in train"].values()} == {0}


def test_the_strict_split_of_version_2_drops_nothing_and_shares_nobody(whole_celebdf: Path) -> None:
    protocol = apply_protocol(celebdf_corpus(whole_celebdf), "strict")
    assert protocol.dropped == {}
    fakes = [by_split(protocol.videos, name)[1] for name in ("train", "val", "test")]
    assert fakes == [4188, 723, 728]
    celebrities = Counter(v.split for v in protocol.videos if "/Celeb-real/" in v.key)
    assert celebrities == {"train": 399, "val": 91, "test": 100}
    overlaps = audit(protocol.videos)
    assert {share.shared for shares in overlaps.values() for share in shares.values()} == {0}


def test_version_2_has_three_folds(whole_celebdf: Path) -> None:
    corpus = celebdf_corpus(whole_celebdf)
    tested = [
        {v.key for v in apply_protocol(corpus, "kfold", num_folds=3, fold=fold).videos if v.split == "test"}
        for fold in range(3)
    ]
    assert sum(len(part) for part in tested) == len(set.union(*tested)) == 6529
    with pytest.raises(UserError, match=r"data\.num_folds=5: "):
        apply_protocol(corpus, "kfold", num_folds=5)
