"""The demo corpus: deterministic, seen by the detector, learnable from faces only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepfake.corpora.demo.corpus import Clip, demo_corpus
from deepfake.corpora.protocols import apply_protocol
from deepfake.errors import UserError
from deepfake.records import Video
from deepfake.video.decode import read_clips
from deepfake.video.probe import probe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    return list(apply_protocol(demo_corpus(tmp_path_factory.mktemp("demo"))).videos)


def listed(num_identities: int) -> list[Video]:
    clips = [Clip(Path("x"), 0, num_identities, who, n) for who in range(num_identities) for n in (0, 1)]
    return [replace(video, split=clip.split()) for clip in clips for video in clip.videos()]


@pytest.mark.parametrize("num_identities", [6, 7, 40])
def test_nobody_is_in_two_splits_and_every_split_has_all_methods(num_identities: int) -> None:
    splits_of: dict[str, set[str | None]] = {}
    methods_of: dict[str | None, set[str]] = {}
    for video in listed(num_identities):
        methods_of.setdefault(video.split, set()).add(video.method)
        for person in video.identities:
            splits_of.setdefault(person, set()).add(video.split)
    assert {len(splits) for splits in splits_of.values()} == {1}
    assert methods_of == {name: {"real", "swap", "reenact"} for name in ("train", "val", "test")}


def test_forty_identities_give_a_hundred_and_sixty_videos_half_of_them_fake() -> None:
    videos = listed(40)
    assert len({video.key for video in videos}) == 160
    assert sum(video.label for video in videos) == 80
    assert [sum(v.split == name for v in videos) for name in ("train", "val", "test")] == [96, 32, 32]


def test_rendering_is_repeatable_to_the_byte_and_resumes(tmp_path: Path) -> None:
    clips = [Clip(tmp_path / name, 0, 6, 5, n) for name in ("a", "b") for n in (0, 1)]
    for clip in clips:
        clip.render()
    for first, second in zip(clips[:2], clips[2:], strict=True):
        for ours, theirs in zip(first.videos(), second.videos(), strict=True):
            assert ours.path.read_bytes() == theirs.path.read_bytes()


def test_unfinished_videos_of_a_killed_rendering_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake.corpora.demo.corpus._render", lambda *_: None)
    ours, theirs = tmp_path / ".a.mp4.0123456789ab.deepfake-part", tmp_path / ".a.tmp"
    for file in (ours, theirs):
        file.touch()
    demo_corpus(tmp_path, num_identities=6)
    assert (ours.exists(), theirs.exists()) == (False, True)


def test_a_folder_with_another_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text('{"version": 0}')
    with pytest.raises(UserError, match=r"data\.root="):
        demo_corpus(tmp_path)
    with pytest.raises(UserError, match=r"data\.num_identities=4"):
        demo_corpus(tmp_path, num_identities=4)


def test_a_fake_differs_from_its_footage_in_the_face_only(corpus: list[Video]) -> None:
    path_of = {video.key: video.path for video in corpus}
    for fake in [video for video in corpus if video.label][::20]:
        assert fake.partner is not None
        pictures = [next(read_clips(p, [np.array([10])])).rgb[0] for p in (fake.path, path_of[fake.partner])]
        change = np.abs(pictures[0].astype(int) - pictures[1]).max(axis=2)
        rows, columns = np.nonzero(change > 40)
        height, width = change.shape
        assert len(rows) > 20
        assert 0.15 * height < rows.min() <= rows.max() < 0.8 * height
        assert 0.15 * width < columns.min() <= columns.max() < 0.85 * width


def test_the_face_detector_finds_every_head_and_nothing_else(corpus: list[Video]) -> None:
    from deepfake.faces.detector import FaceDetector

    detector = FaceDetector()
    counts = [len(detector(next(read_clips(v.path, [np.array([20])])).rgb)[0]) for v in corpus[::4]]
    assert counts == [1] * 40


def test_no_shortcut_beside_the_face_tells_fake_from_real(corpus: list[Video]) -> None:
    features = np.array([shortcuts(video) for video in corpus])
    labels = np.array([video.label for video in corpus])
    people = np.array([video.identities[0] for video in corpus])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    guess = cross_val_predict(
        model, features, labels, groups=people, cv=GroupKFold(8), method="decision_function"
    )
    assert roc_auc_score(labels, guess) <= 0.65


def shortcuts(video: Video) -> list[float]:
    """What a lazy detector could look at: file size, duration, frames, size, mean colours and contrast."""
    info = probe(video.path)
    middle = np.array(next(read_clips(video.path, [np.arange(10, 14)])).rgb)
    mean, spread = middle.mean(axis=(0, 1, 2)), middle.std(axis=(0, 1, 2))
    size = video.path.stat().st_size
    return [size, info.num_frames / info.fps, info.num_frames, info.width, info.height, *mean, *spread]


def test_nothing_is_rendered_twice(corpus: list[Video]) -> None:
    written = [video.path.stat().st_mtime_ns for video in corpus]
    assert list(apply_protocol(demo_corpus(corpus[0].path.parents[1])).videos) == corpus
    assert [video.path.stat().st_mtime_ns for video in corpus] == written
