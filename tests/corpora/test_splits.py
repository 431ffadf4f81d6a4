from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfake.corpora.corpus import identities_of
from deepfake.corpora.splits import components, links_of, split_by_group
from deepfake.errors import UserError
from deepfake.records import Video


def video(key: str, label: int, *people: str, partner: str | None = None) -> Video:
    method = "fake" if label else "real"
    return Video(
        key=key, path=Path(key), corpus="x", label=label, method=method, identities=people, partner=partner
    )


def split(videos: list[Video], seed: int) -> list[Video]:
    split_of = split_by_group(videos, seed=seed)
    return sorted((replace(v, split=split_of[v.key]) for v in videos), key=lambda v: v.key)


@pytest.mark.parametrize(
    ("stem", "people"),
    [
        ("071", ("ffpp:071",)),
        ("071_054", ("ffpp:071", "ffpp:054")),
        ("01__walking_outside_cafe_disgusted", ("dfd:01",)),
        ("01_02__exit_phone_room__YVGY8LOK", ("dfd:01", "dfd:02")),
        ("id7_0003", ("cdf:id7",)),
        ("id17_id2_0003", ("cdf:id17", "cdf:id2")),
        ("000_M101", ("ffpp:000", "dfo:M101")),
        ("00170", ()),
        ("holiday", ()),
    ],
)
def test_names_of_known_datasets_tell_who_is_seen(stem: str, people: tuple[str, ...]) -> None:
    assert identities_of(stem) == people


def test_groups_join_people_by_way_of_others_and_real_partners() -> None:
    videos = [
        video("a", 0, "p:1"),
        video("b", 1, "p:1", "p:2"),
        video("c", 0, "p:2"),
        video("d", 0),
        video("e", 1, partner="d"),
        video("f", 0),
    ]
    groups = components([links_of(v) for v in videos])
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3


def test_fakes_of_one_clip_and_videos_of_one_film_are_one_group_without_their_real_video() -> None:
    videos = [
        replace(video("a", 1, "p:1", "p:2"), clip="c:1", footage=("film:x", "film:y")),
        replace(video("b", 1, "p:3"), clip="c:1"),
        replace(video("c", 0, "p:4"), clip="c:4", footage=("film:y",)),
        replace(video("d", 0, "p:5"), clip="c:5"),
    ]
    groups = components([links_of(v) for v in videos])
    assert groups[0] == groups[1] == groups[2] != groups[3]


def corpus(num_people: int) -> list[Video]:
    rng = np.random.default_rng(0)
    reals = [
        video(f"real/{p}_{n}", 0, f"p:{p}") for p in range(num_people) for n in range(rng.integers(1, 4))
    ]
    fakes = [video(f"fake/{p}", 1, f"p:{p}", f"p:{p ^ 1}") for p in range(num_people)]
    return reals + fakes


def test_no_person_crosses_a_split_and_the_shares_are_about_those_asked_for() -> None:
    videos = split(corpus(100), seed=3)
    assert sorted(v.key for v in videos) == sorted(v.key for v in corpus(100))
    seen: dict[str, set[str | None]] = {}
    for v in videos:
        for person in v.identities:
            seen.setdefault(person, set()).add(v.split)
    assert {len(splits) for splits in seen.values()} == {1}
    for label in (0, 1):
        of_class = [v.split for v in videos if v.label == label]
        for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
            assert of_class.count(name) / len(of_class) == pytest.approx(share, abs=0.03)


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_the_videos() -> None:
    assert split(corpus(20), seed=1) == split(corpus(20)[::-1], seed=1)
    assert split(corpus(20), seed=1) != split(corpus(20), seed=2)


def test_the_smallest_corpus_trains_on_the_group_with_both_classes() -> None:
    videos = [
        video("519", 0, "f:519"),
        video("519_515", 1, "f:519", "f:515"),
        video("004", 0, "f:004"),
        video("750_743", 1, "f:750", "f:743"),
    ]
    for seed in range(5):
        split_of = {v.key: v.split for v in split(videos, seed=seed)}
        assert split_of["519"] == split_of["519_515"] == "train"
        assert {split_of["004"], split_of["750_743"]} == {"val", "test"}


def groups_of(sizes: list[tuple[int, int]]) -> list[Video]:
    """Videos of one person a group, with so many real and fake ones."""
    return [
        video(f"{group}/{label}/{n}", label, f"p:{group}")
        for group, counts in enumerate(sizes)
        for label in (0, 1)
        for n in range(counts[label])
    ]


@pytest.mark.parametrize(
    "sizes",
    [
        [(7, 3), (0, 2), (1, 2), (0, 6), (2, 6)],
        [(1, 2), (1, 1), (6, 3), (0, 6), (5, 0), (0, 1), (1, 2), (0, 2)],
        [(2, 5), (0, 2), (5, 0), (0, 2), (0, 1), (0, 1), (0, 1), (1, 1)],
    ],
)
def test_every_split_has_both_classes_if_the_groups_go_round(sizes: list[tuple[int, int]]) -> None:
    found = {(v.split, v.label) for v in split(groups_of(sizes), seed=0)}
    assert found == {(name, label) for name in ("train", "val", "test") for label in (0, 1)}


@pytest.mark.parametrize("sizes", [[(1, 1), (2, 0), (2, 0)], [(1, 0), (1, 0), (1, 0), (0, 1)]])
def test_train_gets_both_classes_if_they_are_not_enough_for_all(sizes: list[tuple[int, int]]) -> None:
    videos = split(groups_of(sizes), seed=0)
    assert {v.label for v in videos if v.split == "train"} == {0, 1}
    assert {v.split for v in videos} == {"train", "val", "test"}


def test_too_few_groups_for_three_splits_are_an_error() -> None:
    with pytest.raises(UserError, match="2 groups"):
        split([video("a", 0), video("b", 1)], seed=0)
