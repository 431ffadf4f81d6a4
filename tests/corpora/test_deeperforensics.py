from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deepfake.corpora.deeperforensics import VARIANTS, deeperforensics_corpus
from deepfake.corpora.leakage import audit
from deepfake.corpora.protocols import Protocol, apply_protocol
from deepfake.errors import UserError

Touch = Callable[[Path, Iterable[str]], Path]
STEMS = ("000_M101", "001_M101", "002_W006", "003_W006", "004_M109")
LISTED = {
    "train": ["000_M101.mp4", "001_M101.mp4"],
    "val": ["002_W006.mp4", "003_W006.mp4"],
    "test": ["004_M109.mp4"],
}


def small(root: Path, touch: Touch, *, variants: Iterable[str] = ("end_to_end",), lists: bool = True) -> Path:
    touch(root / "dfo", [f"manipulated_videos/{v}/{stem}.mp4" for v in variants for stem in STEMS])
    touch(root / "ffpp/original_sequences/youtube/c23/videos", [f"00{n}.mp4" for n in range(6)])
    if lists:
        folder = root / "dfo" / "lists" / "splits"
        folder.mkdir(parents=True)
        for name, files in LISTED.items():
            (folder / f"{name}.txt").write_text("\n".join(files))
    return root


def corpus(root: Path, **selection: object):  # type: ignore[no-untyped-def]
    return deeperforensics_corpus(root / "dfo", ffpp_root=root / "ffpp", **selection)  # type: ignore[arg-type]


def split_of(protocol: Protocol) -> dict[str, str | None]:
    return {video.key: video.split for video in protocol.videos}


def test_real_videos_are_those_of_faceforensics_and_each_is_beside_its_fake(
    tmp_path: Path, touch: Touch
) -> None:
    listed = corpus(small(tmp_path, touch))
    videos = {v.key: v for v in listed.videos}
    fake = videos["end_to_end/002_W006"]
    assert (fake.label, fake.method, fake.identities) == (1, "end_to_end", ("ffpp:002", "dfo:W006"))
    assert (fake.partner, fake.clip) == ("youtube/c23/002", "ffpp:002")
    assert (videos["youtube/c23/002"].label, videos["youtube/c23/002"].corpus) == (0, "deeperforensics")
    protocol = apply_protocol(listed, "official")
    assert split_of(protocol) == {
        **{
            f"{kind}/{name}": "train"
            for kind, name in (("end_to_end", "000_M101"), ("end_to_end", "001_M101"))
        },
        **{f"youtube/c23/00{n}": split for n, split in enumerate(("train", "train", "val", "val", "test"))},
        **{"end_to_end/002_W006": "val", "end_to_end/003_W006": "val", "end_to_end/004_M109": "test"},
    }
    assert protocol.dropped == {"youtube/c23/005": "the official protocol does not place it"}


def test_the_variants_of_one_stem_are_videos_of_one_split(tmp_path: Path, touch: Touch) -> None:
    names = ("end_to_end", "end_to_end_level_3")
    listed = corpus(small(tmp_path, touch, variants=names), variants=names)
    splits = split_of(apply_protocol(listed, "official"))
    assert len([key for key in splits if not key.startswith("youtube")]) == 10
    assert splits["end_to_end/004_M109"] == splits["end_to_end_level_3/004_M109"] == "test"


def test_distorted_fakes_beside_clean_real_videos_are_warned_of(
    tmp_path: Path, touch: Touch, caplog: pytest.LogCaptureFixture
) -> None:
    corpus(small(tmp_path, touch, variants=VARIANTS), variants=["end_to_end_random_level"])
    assert "end_to_end_random_level are distorted while the real videos are not" in caplog.text


def test_the_ffpp_protocol_follows_the_targets(tmp_path: Path, touch: Touch) -> None:
    root = small(tmp_path, touch)
    listed = corpus(root)
    with pytest.raises(UserError, match=r"data\.protocol=ffpp: train\.json"):
        apply_protocol(listed, "ffpp")
    (root / "ffpp" / "train.json").write_text('[["000", "002"]]')
    (root / "ffpp" / "val.json").write_text('[["001", "005"]]')
    (root / "ffpp" / "test.json").write_text('[["003", "004"]]')
    protocol = apply_protocol(corpus(root), "ffpp")
    assert split_of(protocol)["end_to_end/003_W006"] == split_of(protocol)["youtube/c23/003"] == "test"
    assert split_of(protocol)["end_to_end/002_W006"] == "train"
    shared = audit(protocol.videos)["test in train"]["identities"]
    assert (shared.shared, shared.of, shared.examples) == (1, 4, ("dfo:W006",))  # two targets, two actors


def test_without_faceforensics_the_message_says_what_is_missing(tmp_path: Path, touch: Touch) -> None:
    root = small(tmp_path, touch)
    with pytest.raises(UserError, match=r"data\.ffpp_root=/path"):
        deeperforensics_corpus(root / "dfo", ffpp_root=None)
    with pytest.raises(UserError, match=r"data\.ffpp_root=.*/dfo: "):
        deeperforensics_corpus(root / "dfo", ffpp_root=root / "dfo")


def test_wrong_variants_and_roots_are_named(tmp_path: Path, touch: Touch) -> None:
    root = small(tmp_path, touch)
    with pytest.raises(UserError, match=r"data\.variants: .*end2end.*end_to_end, "):
        corpus(root, variants=["end2end"])
    with pytest.raises(UserError, match=r"reenact_postprocess, .*end_to_end"):
        corpus(root, variants=["reenact_postprocess"])
    with pytest.raises(UserError, match=r"data\.root=.*/dfo\?"):
        deeperforensics_corpus(root, ffpp_root=root / "ffpp")
    with pytest.raises(UserError, match=r"data=ffpp"):
        deeperforensics_corpus(root / "ffpp", ffpp_root=root / "ffpp")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("000_X101.mp4", r"line 1: '000_X101\.mp4' is not like 000_M101\.mp4"),
        ("001_W006.mp4", "001 is in train.txt too"),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path: Path, touch: Touch, line: str, message: str) -> None:
    root = small(tmp_path, touch)
    (root / "dfo" / "lists" / "splits" / "test.txt").write_text(line)
    with pytest.raises(UserError, match=message):
        corpus(root)


def test_source_videos_are_counted_apart_and_never_real(tmp_path: Path, touch: Touch) -> None:
    root = small(tmp_path, touch)
    name = "source_videos/M101/light_up/happy/camera_up/M101_light_up_happy_camera_up.mp4"
    touch(root / "dfo", [name])
    listed = corpus(root)
    assert listed.unused == {root / "dfo" / "source_videos": 48_475}
    assert not any("light_up" in v.path.name for v in listed.videos)


def test_the_known_names_have_the_actors_that_are_known(
    tmp_path: Path, touch: Touch, lists: Path, whole_ffpp: Path
) -> None:
    stems = (lists / "deeperforensics" / "known_280_names.txt").read_text().split()
    touch(tmp_path, [f"manipulated_videos/end_to_end/{stem}.mp4" for stem in stems])
    listed = deeperforensics_corpus(tmp_path, ffpp_root=whole_ffpp)
    protocol = apply_protocol(listed, "ffpp")
    fakes = [v for v in protocol.videos if v.label]
    actors = {name: {v.identities[1] for v in fakes if v.split == name} for name in ("train", "val", "test")}
    assert [sum(v.split == name for v in fakes) for name in ("train", "val", "test")] == [0, 140, 140]
    assert (len(actors["test"]), len(actors["val"]), len(actors["test"] & actors["val"])) == (79, 76, 62)
    assert [
        sum(not v.label and v.split == name for v in protocol.videos) for name in ("train", "val", "test")
    ] == [
        720,
        140,
        140,
    ]
    by_actor = apply_protocol(listed, "strict")
    assert by_actor.dropped == {}
    assert {s.shared for shares in audit(by_actor.videos).values() for s in shares.values()} == {0}
