from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from corpus_videos import make_video as video
from hypothesis import given
from hypothesis import strategies as st

from deepfake.corpora import splits
from deepfake.corpora.corpus import identities_of
from deepfake.corpora.splits import components, largest_disjoint, links_of, split_by_group
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video


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


# What holds for any corpus.

PEOPLE = st.integers(0, 11)
SEEDS = st.integers(0, 5)


@pytest.fixture(autouse=True, scope="module")
def _short_search() -> Iterator[None]:
    """What holds of a split holds however long the best one was searched for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "STARTS", 4)
        yield


@st.composite
def some_videos(draw: st.DrawFn) -> list[Video]:
    """Reals of a person each, swaps of two, fakes of unknown people, some with footage or a partner."""
    reals = [
        video(f"real/{place}", REAL, f"x:{who}", clip=None if clip is None else f"x:{clip}")
        for place, (who, clip) in enumerate(
            draw(st.lists(st.tuples(PEOPLE, st.none() | st.integers(0, 20)), min_size=1, max_size=20))
        )
    ]
    partners = st.none() | st.sampled_from([real.key for real in reals])
    fakes = [
        video(f"fake/{place}", FAKE, *(f"x:{who}" for who in people), partner=partner)
        for place, (people, partner) in enumerate(
            draw(st.lists(st.tuples(st.lists(PEOPLE, max_size=2), partners), max_size=20))
        )
    ]
    return draw(st.permutations([*reals, *fakes]))


def crossing(videos: list[Video], split_of: dict[str, str]) -> list[str]:
    """Everything that ties videos of two splits together."""
    seen = defaultdict(set)
    for one in videos:
        if one.key in split_of:
            for link in links_of(one):
                seen[link].add(split_of[one.key])
    return [link for link, found in seen.items() if len(found) > 1]


@given(videos=some_videos(), seed=SEEDS)
def test_no_person_and_no_footage_is_in_two_splits_and_none_is_empty(videos: list[Video], seed: int) -> None:
    groups = set(components([links_of(one) for one in videos]))
    if len(groups) < len(SPLITS):
        with pytest.raises(UserError, match="too few"):
            split_by_group(videos, seed=seed)
        return
    split_of = split_by_group(videos, seed=seed)
    assert set(split_of) == {one.key for one in videos}
    assert set(split_of.values()) == set(SPLITS)
    assert crossing(videos, split_of) == []


@given(videos=some_videos(), seed=SEEDS)
def test_a_split_does_not_depend_on_the_order_of_videos(videos: list[Video], seed: int) -> None:
    ordered = sorted(videos, key=lambda one: one.path, reverse=True)
    assert largest_disjoint(videos, seed=seed) == largest_disjoint(ordered, seed=seed)
    if len(set(components([links_of(one) for one in videos]))) >= len(SPLITS):
        assert split_by_group(videos, seed=seed) == split_by_group(ordered, seed=seed)


@given(videos=some_videos(), seed=SEEDS)
def test_the_largest_disjoint_split_keeps_all_reals_and_lets_nobody_cross(
    videos: list[Video], seed: int
) -> None:
    split_of = largest_disjoint(videos, seed=seed)
    assert {one.key for one in videos if one.label == REAL} <= set(split_of) <= {one.key for one in videos}
    assert set(split_of.values()) <= set(SPLITS)
    people = defaultdict(set)
    for one in videos:
        if one.key in split_of:
            for who in one.identities:
                people[who].add(split_of[one.key])
    assert [who for who, splits in people.items() if len(splits) > 1] == []


@given(links=st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=3), min_size=1, max_size=12))
def test_items_are_in_one_group_if_a_chain_of_links_ties_them_and_only_then(links: list[list[str]]) -> None:
    groups = components(links)
    together = [{place} for place in range(len(links))]
    for _ in links:  # as slow as can be: joined until nothing more joins
        together = [
            set().union(
                *(
                    together[other]
                    for other in range(len(links))
                    if other == place or any(set(links[p]) & set(links[other]) for p in own)
                )
            )
            for place, own in enumerate(together)
        ]
    assert [{p for p, group in enumerate(groups) if group == groups[own]} for own in range(len(links))] == (
        together
    )
