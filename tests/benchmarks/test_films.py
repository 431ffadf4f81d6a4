from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.films import CYCLE_FRAMES, Film, benchmark_videos, film, find_videos, long_films, random_scene
from deepfake.errors import UserError
from deepfake.faces.detector import FaceDetector
from deepfake.video.probe import probe


def test_the_same_film_has_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one = Film(folder=tmp_path / "one", width=320, height=240, num_frames=4)
    films = [one, replace(one, folder=tmp_path / "two"), replace(one, seed=1)]
    for made in films:
        made.render()
    first, second, other = (made.path.read_bytes() for made in films)
    assert first == second != other


def test_a_face_of_a_quarter_to_less_than_half_of_the_height_is_on_every_frame() -> None:
    detector = FaceDetector()
    for seed in range(4):
        frames = list(film(random_scene(seed, width=640, height=360, num_frames=9)))
        boxes = [found.boxes for found in detector(frames[::4])]
        assert [len(own) for own in boxes] == [1, 1, 1]
        heights = np.concatenate(boxes)[:, 3] - np.concatenate(boxes)[:, 1]
        assert (heights > 0.22 * 360).all()
        assert (heights < 0.45 * 360).all()


def test_a_long_film_is_as_long_as_it_says_and_made_of_few_pictures(tmp_path: Path) -> None:
    (made,) = long_films(folder=str(tmp_path), size=(320, 240), num_frames=[70], wanted=True)
    made.render()
    info = probe(made.path)
    assert (info.num_frames, info.width, info.height) == (70, 320, 240)
    pictures = [frame.tobytes() for frame in made.frames()]
    assert len(set(pictures)) == CYCLE_FRAMES
    assert pictures[0] == pictures[2 * CYCLE_FRAMES - 2]
    assert long_films(folder=str(tmp_path), size=(320, 240), num_frames=[70], wanted=False) == []


def test_own_videos_stand_beside_the_films_even_under_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "519.mp4").touch()
    (tmp_path / "notes.txt").touch()
    assert find_videos(str(tmp_path)) == [tmp_path / "a" / "519.mp4", tmp_path / "b" / "519.mp4"]
    videos = benchmark_videos(
        folder=str(tmp_path / "films"), num_films=1, size=(160, 120), num_frames=2, input=str(tmp_path)
    )
    assert [v.key for v in videos] == ["film/000_film0_160x120_2_v1", "input/000_519", "input/001_519"]


@pytest.mark.parametrize(
    ("given", "message"),
    [("none", "no such file or folder"), ("", "no video in it")],
)
def test_a_missing_input_is_named(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_videos([str(tmp_path / given)])


def test_nothing_to_measure_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="num_films=0"):
        benchmark_videos(folder=str(tmp_path), num_films=0, size=(160, 120), num_frames=2)
