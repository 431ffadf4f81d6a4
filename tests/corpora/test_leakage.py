from typing import Any

from corpus_videos import make_video as video

from deepfake.corpora.leakage import Footprint, Share, audit, leaks, overlap
from deepfake.records import Video


def real(clip: str, person: str, split: str, **known: Any) -> Video:
    return video(f"real/{clip}", 0, person, clip=clip, split=split, **known)


def fake(clip: str, target: str, source: str, split: str) -> Video:
    return video(f"fake/{clip}_{source}", 1, target, source, clip=clip, split=split)


VIDEOS = (
    real("a1", "a", "train", footage=("film",)),
    fake("a2", "a", "b", "train"),
    fake("c1", "c", "b", "val"),
    fake("a1", "a", "b", "test"),  # pair and real clip of train
    fake("a3", "b", "a", "test"),  # the pair turned round is another pair
    real("a2", "a", "test", footage=("film",)),  # train has a fake of this clip
    real("d1", "d", "test"),
    real("c1", "c", "test"),  # val has a fake of this clip
)


def test_every_measure_counts_what_it_says() -> None:
    overlaps = audit(VIDEOS)
    assert overlaps["test in train"] == {
        "identities": Share(2, 4, ("a", "b")),
        "ordered_pairs": Share(1, 2, ("fake/a1_b",)),
        "target_clips": Share(1, 2, ("fake/a1_b",)),
        "real_clips": Share(1, 3, ("real/a2",)),
        "clips": Share(2, 5, ("a1", "a2")),
        "footage": Share(1, 1, ("film",)),
        "unnamed": Share(0, 0),
    }
    assert overlaps["test in train+val"]["identities"] == Share(3, 4, ("a", "b", "c"))
    assert overlaps["val in train"]["identities"].share == 0.5
    assert overlaps["val in train"]["footage"].share is None


def test_a_video_of_which_nothing_is_known_is_known_again_by_its_key() -> None:
    trained = [video(f"real/{n}", 0) for n in range(3)]
    assert overlap(Footprint.of(trained[:2]), trained)["unnamed"] == Share(2, 3, ("x/real/0", "x/real/1"))


def test_leaks_are_told_in_words() -> None:
    assert leaks({"val in train": audit(VIDEOS)["val in train"]}) == ["val in train: 1 of 2 people"]


def test_a_footprint_survives_the_checkpoint_and_adds_up() -> None:
    first, second = Footprint.of(VIDEOS[:2]), Footprint.of(VIDEOS[2:3])
    assert Footprint.from_dict(first.to_dict()) == first
    assert first | second == Footprint.of(VIDEOS[:3])
    assert overlap(first | second, VIDEOS[3:]) == audit(VIDEOS)["test in train+val"]
