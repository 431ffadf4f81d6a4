from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import BatchSampler

from deepfake.corpora.protocols import Protocol
from deepfake.data.augment import Sample, WindowTransform
from deepfake.data.datamodule import FaceDataModule
from deepfake.data.windows import EvalSettings, TrackFrames
from deepfake.errors import UserError
from deepfake.faces.extract_corpus import CorpusExtraction
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.records import InputSpec

SPEC = InputSpec(size=8, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))


class MakesFakes(WindowTransform):
    """A transform that needs reals alone."""

    reals_only = True

    def __call__(self, sample: Sample, seed: int) -> Sample:
        return sample


def prepared(
    tmp_path: Path, mains: list[int | None], labels: list[int], transform: WindowTransform | None = None
) -> FaceDataModule:
    """A datamodule of videos with two tracks each, all for training."""
    module = FaceDataModule(
        protocol=lambda: Protocol(name="x", videos=()),
        store=FaceStore(tmp_path, FaceSettings()),
        extract=lambda videos: CorpusExtraction(),
        spec=SPEC,
        transform=transform,
    )
    module.manifest = [
        {
            "video": f"v{n}",
            "split": "train",
            "label": label,
            "corpus": "x",
            "method": str(label),
            "main": main,
        }
        for n, (main, label) in enumerate(zip(mains, labels, strict=True))
    ]
    steps = np.arange(4)
    module.tracks = {
        n: [TrackFrames(n, track, steps, steps * 0, steps, steps) for track in (0, 1)]
        for n in range(len(mains))
    }
    return module


@pytest.mark.parametrize(
    ("name", "value"),
    [("eval_hop", 0), ("eval_hop", -1), ("eval_windows", 0), ("batch_size", 0), ("windows_per_video", 1.5)],
)
def test_a_count_below_one_or_not_whole_is_named_before_anything_is_extracted(
    tmp_path: Path, name: str, value: float
) -> None:
    def extract(videos: object) -> CorpusExtraction:
        raise AssertionError("it was extracted")

    windows = {"eval_hop": "hop", "eval_windows": "max_windows"}
    given: dict[str, Any] = {name: value}
    if name in windows:
        given = {"evaluation": EvalSettings(**{windows[name]: value})}  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"data\.{name}={value}: "):
        FaceDataModule(
            protocol=lambda: Protocol(name="x", videos=()),
            store=FaceStore(tmp_path, FaceSettings()),
            extract=extract,
            spec=SPEC,
            **given,
        )


def test_training_windows_are_of_the_main_face_and_none_of_a_fake_whose_face_was_missed(
    tmp_path: Path,
) -> None:
    windows = prepared(tmp_path, [0, 1, None], [0, 1, 1]).train_plan(epoch=0)
    assert {(window.video, window.track) for window in windows} == {(0, 0), (1, 1)}
    assert len(windows) == 8


def test_a_training_split_of_one_class_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 real and 0 fake"):
        prepared(tmp_path, [0, None], [0, 1]).train_plan(epoch=0)


def test_a_transform_that_makes_fakes_is_given_real_videos_alone(tmp_path: Path) -> None:
    windows = prepared(tmp_path, [0, 1, None, 1], [0, 1, 0, 0], MakesFakes()).train_plan(epoch=0)
    assert {(window.video, window.track) for window in windows} == {(0, 0), (3, 1)}
    assert len(windows) == 8
    for real, fake in zip(windows[::2], windows[1::2], strict=True):
        assert fake == real._replace(seed=real.seed + 1)
        assert real.seed % 2 == 0
    assert prepared(tmp_path, [0], [0], MakesFakes()).train_plan(epoch=0)
    with pytest.raises(UserError, match="0 real and 1 fake"):
        prepared(tmp_path, [None, 0], [0, 1], MakesFakes()).train_plan(epoch=0)


def test_both_windows_of_a_pair_are_in_one_batch(tmp_path: Path) -> None:
    module = prepared(tmp_path, [0, 1, None, 1], [0, 1, 0, 0], MakesFakes())
    module.batch_size = 6
    batches = list(BatchSampler(module.train_sampler(), module.batch_size, drop_last=False))
    assert [len(batch) for batch in batches] == [6, 2]
    for batch in batches:
        reals = {window for window in batch if window.seed % 2 == 0}
        assert {real._replace(seed=real.seed + 1) for real in reals} == set(batch) - reals
    module.batch_size = 3
    with pytest.raises(UserError, match=r"data\.batch_size=3: "):
        module.train_sampler()
    module.transform = None
    assert len(module.train_sampler()) == 12
