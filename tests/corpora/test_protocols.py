from dataclasses import replace
from pathlib import Path

import pytest
from corpus_videos import make_video as video

from deepfake.corpora.corpus import Corpus
from deepfake.corpora.leakage import audit
from deepfake.corpora.protocols import Protocol, apply_protocol, describe, join
from deepfake.errors import UserError
from deepfake.records import Video


def couples(num: int) -> tuple[Video, ...]:
    """Of each couple two real videos, and two fakes with the faces exchanged."""
    return tuple(
        video(f"{label}/{who:02}", label, f"p:{who}", *((f"p:{who ^ 1}",) if label else ()), clip=f"c:{who}")
        for who in range(2 * num)
        for label in (0, 1)
    )


def everybody_with_everybody(num: int, fakes_a_pair: int = 3) -> tuple[Video, ...]:
    """A real video of each person, and fakes of every ordered pair."""
    reals = [video(f"real/{a:02}", 0, f"p:{a}", clip=f"c:{a}") for a in range(num)]
    fakes = [
        video(f"fake/{a:02}_{b:02}_{n}", 1, f"p:{a}", f"p:{b}", clip=f"c:{a}")
        for a in range(num)
        for b in range(num)
        for n in range(fakes_a_pair)
        if a != b
    ]
    return (*reals, *fakes)


def people(videos: tuple[Video, ...], split: str) -> set[str]:
    return {person for v in videos if v.split == split for person in v.identities}


def test_the_official_table_is_taken_as_it_is_and_the_rest_is_dropped_with_a_reason() -> None:
    table = {"0/00": "train", "1/00": "val", "0/02": "test"}
    protocol = apply_protocol(Corpus(name="x", videos=couples(2), splits={"official": table}), "official")
    assert {v.key: v.split for v in protocol.videos} == table
    assert protocol.name == "x/official"
    assert protocol.dropped["1/01"] == "the official protocol does not place it"
    assert len(protocol.dropped) == 5
    assert "0/01, 0/03, 1/01 …" in describe(protocol)
    assert "train 1 real + 0 fake, val 0 real + 1 fake, test 1 real + 0 fake" in describe(protocol)


def test_a_missing_validation_split_is_carved_from_train_by_people() -> None:
    videos = couples(40)
    table = {v.key: "test" if v.identities[0] in ("p:0", "p:1") else "train" for v in videos}
    protocol = apply_protocol(Corpus(name="x", videos=videos, splits={"official": table}), "official")
    sizes = [sum(v.split == name for v in protocol.videos) for name in ("train", "val", "test")]
    assert sizes == [136, 20, 4]
    assert not people(protocol.videos, "val") & people(protocol.videos, "train")
    assert "no validation split: 15% of train, by people" in protocol.notes[0]


def test_a_validation_split_that_is_not_on_disk_is_told_from_one_that_never_was() -> None:
    videos = couples(40)
    table = {v.key: "test" if v.identities[0] == "p:0" else "train" for v in videos}
    corpus = Corpus(name="x", videos=videos, splits={"official": table}, validates=True)
    assert "on disk: 15%" in apply_protocol(corpus, "official").notes[0]


@pytest.mark.parametrize("seed", [-1, None, "abc", 1.5])
def test_a_seed_that_is_no_seed_is_named(seed: object) -> None:
    with pytest.raises(UserError, match=rf"data\.split_seed={seed}: "):
        apply_protocol(Corpus(name="x", videos=couples(3)), "strict", seed=seed)  # type: ignore[arg-type]


def test_strict_drops_nothing_where_people_fall_into_groups() -> None:
    protocol = apply_protocol(Corpus(name="x", videos=couples(20)), "strict")
    assert (len(protocol.videos), protocol.dropped) == (80, {})
    assert not people(protocol.videos, "test") & (
        people(protocol.videos, "train") | people(protocol.videos, "val")
    )


def test_strict_drops_the_fewest_fakes_it_finds_where_all_are_tied() -> None:
    videos = everybody_with_everybody(12)
    protocol = apply_protocol(Corpus(name="x", videos=videos), "strict")
    assert len(protocol.videos) + len(protocol.dropped) == len(videos)
    assert all(key.startswith("fake/") for key in protocol.dropped)
    assert {s.shared for shares in audit(protocol.videos).values() for s in shares.values()} == {0}
    # one side of n people keeps n (n - 1) pairs; with 2 people in val and 2 or 3 in test most stays
    assert sum(v.label for v in protocol.videos) >= 3 * (8 * 7 + 2 * 1 + 2 * 1)
    again = apply_protocol(Corpus(name="x", videos=videos[::-1]), "strict")
    assert again.hash == protocol.hash


def test_where_all_are_tied_two_people_of_one_film_stay_on_one_side() -> None:
    films = {f"p:{who}": f"film:{who // 2}" for who in range(12)}
    videos = tuple(
        replace(v, footage=tuple(films[person] for person in v.identities))
        for v in everybody_with_everybody(12)
    )
    protocol = apply_protocol(Corpus(name="x", videos=videos), "strict")
    side_of = {v.identities[0]: v.split for v in protocol.videos if not v.label}
    assert all(side_of[f"p:{who}"] == side_of[f"p:{who ^ 1}"] for who in range(12))
    assert {s.shared for shares in audit(protocol.videos).values() for s in shares.values()} == {0}


def test_folds_test_everything_once_and_validate_on_the_next() -> None:
    corpus = Corpus(name="x", videos=couples(20))
    folds = [apply_protocol(corpus, "kfold", num_folds=4, fold=fold) for fold in range(4)]
    assert [protocol.name for protocol in folds] == [f"x/kfold4-{fold}" for fold in range(4)]
    tested = [{v.key for v in protocol.videos if v.split == "test"} for protocol in folds]
    validated = [{v.key for v in protocol.videos if v.split == "val"} for protocol in folds]
    assert set.union(*tested) == {v.key for v in corpus.videos}
    assert sum(map(len, tested)) == len(corpus.videos)
    assert validated == [*tested[1:], tested[0]]
    assert apply_protocol(corpus, "kfold", num_folds=4, seed=1).hash != folds[0].hash
    for fold, num_folds in ((4, 4), (-1, 4), (0, 2), ("x", 4), (0, 3.5)):
        with pytest.raises(UserError, match=rf"data\.fold={fold}, data\.num_folds={num_folds}: "):
            apply_protocol(corpus, "kfold", num_folds=num_folds, fold=fold)  # type: ignore[arg-type]


def test_the_hash_is_of_the_table_and_changes_with_any_split() -> None:
    corpus = Corpus(name="x", videos=couples(2), splits={"official": {"0/00": "train", "0/01": "val"}})
    moved = Corpus(
        name="y", videos=couples(2), splits={"official": {"0/00": "train", "0/01": "test", "0/02": "val"}}
    )
    same = Corpus(name="y", videos=couples(3), splits={"official": {"0/00": "train", "0/01": "val"}})
    first, second, third = (apply_protocol(c, "official").hash for c in (corpus, moved, same))
    assert first == third != second
    # printf "0/00\ttrain\n0/01\tval\n" | sha256sum
    assert first == "1845e6cc13005e62"


def test_a_csv_of_identities_keeps_one_person_under_two_names_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "people.csv"
    table.write_text("id,person\np:0,anna\np:7,anna\nlone,anna\np:99,nobody\n")
    videos = (*couples(12), video("lone", 0))
    protocol = apply_protocol(Corpus(name="x", videos=videos), "strict", identities=table)
    split_of = {v.key: v.split for v in protocol.videos}
    assert split_of["0/00"] == split_of["0/07"] == split_of["0/06"] == split_of["lone"]
    assert {v.identities for v in protocol.videos if v.key in ("0/00", "lone")} == {("person:anna",)}
    assert "1 ids " in caplog.text
    assert "p:99" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,name\n", "id and person"),
        ("id,person\na,\n", "line 2: "),
        ("id,person\na,x\na,y\n", "line 3: a "),
    ],
)
def test_a_bad_csv_of_identities_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        apply_protocol(Corpus(name="x", videos=couples(3)), identities=tmp_path / "people.csv")


def test_an_unknown_protocol_and_one_without_its_lists_are_named() -> None:
    corpus = Corpus(name="x", videos=couples(3), unavailable={"official": "put the lists there"})
    with pytest.raises(UserError, match=r"data\.protocol=offical: .*auto, strict, kfold"):
        apply_protocol(corpus, "offical")
    with pytest.raises(UserError, match=r"data\.protocol=official: put the lists there"):
        apply_protocol(corpus, "official")


def test_auto_is_official_where_it_is_and_strict_with_a_notice_elsewhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = {v.key: "train" for v in couples(6)} | {"0/00": "val", "0/01": "test"}
    assert (
        apply_protocol(Corpus(name="x", videos=couples(6), splits={"official": table})).name == "x/official"
    )
    assert caplog.text == ""
    without = Corpus(name="x", videos=couples(6), unavailable={"official": "put the lists there"})
    assert apply_protocol(without).name == "x/strict"
    assert "this is NOT the official split: put the lists there" in caplog.text


def test_people_that_leave_no_three_splits_are_an_error() -> None:
    with pytest.raises(UserError, match=r"x: 2 videos"):
        apply_protocol(Corpus(name="x", videos=(video("a", 0, "p:1"), video("b", 1, "p:1"))), "strict")


def test_two_videos_of_one_key_are_never_listed() -> None:
    with pytest.raises(ValueError, match="1 keys stand for two videos, such as a"):
        Corpus(name="x", videos=(video("a", 0), video("a", 1)))


FFPP = Protocol(
    name="ffpp_c23/official", videos=(video("youtube/1", 0, split="train", path=Path("/real/1")),)
)
DFO = Protocol(
    name="deeperforensics/ffpp",
    videos=(
        video("end/1", 1, split="train", partner="youtube/1"),
        video("youtube/1", 0, split="train", path=Path("/real/1")),
    ),
    dropped={"end/2": "why"},
    notes=("mind",),
)


def test_keys_and_methods_keep_their_corpus_and_a_shared_file_counts_once() -> None:
    joint = join({"ffpp": FFPP, "dfo": DFO})
    assert [(v.key, v.method, v.partner) for v in joint.videos] == [
        ("dfo/end/1", "dfo:swap", "ffpp/youtube/1"),
        ("ffpp/youtube/1", "real", None),
    ]
    assert joint.name == "ffpp_c23/official + deeperforensics/ffpp"
    assert (joint.dropped, joint.notes) == ({"dfo/end/2": "why"}, ("dfo: mind",))


def test_a_shared_file_in_two_splits_is_refused() -> None:
    other = replace(DFO, videos=tuple(replace(v, split="test") for v in DFO.videos))
    with pytest.raises(UserError, match=r"/real/1 is in train of ffpp and in test of dfo: .*protocol=ffpp"):
        join({"ffpp": FFPP, "dfo": other})
