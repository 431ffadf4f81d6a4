from dataclasses import replace
from pathlib import Path

import pytest

from deepfake.corpora.protocols import Protocol, join
from deepfake.errors import UserError
from deepfake.records import Video


def video(key: str, label: int, split: str, *, path: str | None = None, partner: str | None = None) -> Video:
    method = "swap" if label else "real"
    return Video(
        key=key,
        path=Path(path or f"/{key}"),
        corpus="x",
        label=label,
        method=method,
        split=split,
        partner=partner,
    )


FFPP = Protocol(name="ffpp_c23/official", videos=(video("youtube/1", 0, "train", path="/real/1"),))
DFO = Protocol(
    name="deeperforensics/ffpp",
    videos=(video("end/1", 1, "train", partner="youtube/1"), video("youtube/1", 0, "train", path="/real/1")),
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
