"""What holds of splits over any corpus: no person and no footage on two sides, order is nothing."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.corpora import splits as disjoint
from deepfake.corpora.splits import components, largest_disjoint, links_of, split_by_group
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video

PEOPLE = st.integers(0, 11)
SEEDS = st.integers(0, 5)


@pytest.fixture(autouse=True, scope="module")
def _short_search() -> Iterator[None]:
    """What holds of a split holds however long the best one was searched for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disjoint, "STARTS", 4)
        yield


def video(key: str, label: int, *people: int, clip: int | None = None, partner: str | None = None) -> Video:
    return Video(
        key=key,
        path=Path(key),
        corpus="x",
        label=label,
        method="fake" if label else "real",
        identities=tuple(f"x:{who}" for who in people),
        clip=None if clip is None else f"x:{clip}",
        partner=partner,
    )


@st.composite
def corpora(draw: st.DrawFn) -> list[Video]:
    """Reals of a person each, swaps of two, fakes of unknown people, some with footage or a partner."""
    reals = [
        video(f"real/{place}", REAL, who, clip=clip)
        for place, (who, clip) in enumerate(
            draw(st.lists(st.tuples(PEOPLE, st.none() | st.integers(0, 20)), min_size=1, max_size=20))
        )
    ]
    partners = st.none() | st.sampled_from([real.key for real in reals])
    fakes = [
        video(f"fake/{place}", FAKE, *people, partner=partner)
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
    return [link for link, splits in seen.items() if len(splits) > 1]


@given(videos=corpora(), seed=SEEDS)
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


@given(videos=corpora(), seed=SEEDS)
def test_a_split_does_not_depend_on_the_order_of_videos(videos: list[Video], seed: int) -> None:
    ordered = sorted(videos, key=lambda one: one.path, reverse=True)
    assert largest_disjoint(videos, seed=seed) == largest_disjoint(ordered, seed=seed)
    if len(set(components([links_of(one) for one in videos]))) >= len(SPLITS):
        assert split_by_group(videos, seed=seed) == split_by_group(ordered, seed=seed)


@given(videos=corpora(), seed=SEEDS)
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
