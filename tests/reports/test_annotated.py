from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from films import film, number_of
from PIL import Image
from talkies import audio_packets, talkie

from deepfake.errors import DecodeError
from deepfake.faces.video_faces import VideoFaces
from deepfake.reports import annotate as annotated
from deepfake.reports.annotate import (
    faces_by_frame,
    fit_even,
    frame_probs,
    known_frames,
    write_annotated,
)
from deepfake.scoring.prediction import Prediction, TrackPrediction, WindowPrediction
from deepfake.video.probe import probe, scan

MakeFaces = Callable[..., VideoFaces]
MakeTrack = Callable[..., TrackPrediction]
TIMES_MS = (40 + np.cumsum(np.random.default_rng(0).integers(20, 60, 20))).tolist()


def said(*tracks: TrackPrediction, prob: float | None = 0.9, verdict: str = "fake") -> Prediction:
    return Prediction(file="film", status="ok", prob=prob, verdict=verdict, reason="", tracks=tracks)


def shown_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def write(tmp_path: Path, make_faces: MakeFaces, make_track: MakeTrack) -> Callable[..., Path]:
    """Annotate a file with one face on frames 2 and 6."""

    def run(source: Path, num_frames: int = 20, **more: int) -> Path:
        faces = make_faces(
            {0: {2: (40, 4, 80, 44), 6: (60, 4, 100, 44)}},
            time_s=[index / 25 for index in range(num_frames)],
            sampled=range(10),
        )
        prediction = said(make_track(0, {(2, 2): 0.9, (6, 6): 0.7}))
        return write_annotated(tmp_path / "out", "film", source, prediction, faces, threshold=0.5, **more)

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Number of marks and caption of each frame, into which nothing is drawn."""
    noted = []

    def note(
        rgb: np.ndarray, marks: list[annotated.AnnotatedFace], caption: str, *, threshold: float
    ) -> np.ndarray:
        noted.append((len(marks), caption))
        return rgb

    monkeypatch.setattr(annotated, "annotate", note)
    return noted


def test_every_frame_stays_at_its_time_with_the_sound_beside_it(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    source = talkie(tmp_path / "talkie.mp4", times_ms=TIMES_MS)
    path = write(source)
    assert path == tmp_path / "out" / "film.mp4"
    assert probe(path).codec == "h264"
    assert [number_of(frame) for frame in shown_frames(path)] == list(range(20))
    assert scan(path).time_s == pytest.approx(scan(source).time_s, abs=1e-6)
    assert [data for _, data in audio_packets(path)] == [data for _, data in audio_packets(source)]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("film.mkv", "libx264"), ("film.avi", "mpeg4"), ("film.webm", "libvpx-vp9"), ("film.ts", "libx264")],
)
def test_other_containers_keep_their_times_too(
    tmp_path: Path, write: Callable[..., Path], name: str, codec: str
) -> None:
    source = film(tmp_path / name, codec, num_frames=20)
    path = write(source)
    assert [number_of(frame) for frame in shown_frames(path)] == list(range(20))
    assert scan(path).time_s == pytest.approx(scan(source).time_s, abs=2e-6)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
def test_a_turned_film_is_annotated_as_it_is_shown(
    tmp_path: Path, write: Callable[..., Path], rotation_deg: int
) -> None:
    source = film(tmp_path / "turned.mp4", num_frames=20, rotation_deg=rotation_deg)
    path, before = write(source), probe(source)
    after = probe(path)
    assert (after.width, after.height, after.rotation_deg) == (before.width, before.height, 0)
    upright = [np.rot90(frame, -round(before.rotation_deg / 90)) for frame in shown_frames(path)]
    assert [number_of(frame) for frame in upright] == list(range(20))


def test_a_large_film_is_reduced_and_its_boxes_with_it(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(film(tmp_path / "film.mp4", num_frames=20), max_side_px=80)
    assert (probe(path).width, probe(path).height) == (80, 64)


def test_boxes_are_drawn_between_two_looks_and_nowhere_else(
    tmp_path: Path, undrawn: list[tuple[int, str]], write: Callable[..., Path]
) -> None:
    write(film(tmp_path / "film.mp4", num_frames=20))
    assert [count for count, _ in undrawn] == [0, 0, 1, 1, 1, 1, 1] + 13 * [0]
    assert undrawn[2][1] == "0:00.08   frame 2   file: fake 0.90"
    assert undrawn[8][1] == "0:00.32   frame 8   file: fake 0.90   no face"
    assert undrawn[19][1] == "0:00.76   frame 19   file: fake 0.90   not analysed"


def test_a_still_image_becomes_a_jpeg(tmp_path: Path, make_faces: MakeFaces, make_track: MakeTrack) -> None:
    Image.fromarray(np.full((121, 161, 3), 200, np.uint8)).save(tmp_path / "face.png")
    faces = make_faces({0: {0: (40, 40, 80, 80)}}, time_s=[0.0])
    path = write_annotated(
        tmp_path, "face", tmp_path / "face.png", said(make_track(0, {(0, 0): 0.9})), faces, threshold=0.5
    )
    assert path.name == "face.jpg"
    rgb = np.asarray(Image.open(path)).astype(int)
    assert rgb.shape == (122, 162, 3)
    assert rgb[60, 40, 0] - rgb[60, 40, 2] > 60  # the red line
    assert abs(rgb[100, 100] - 200).max() < 8


def test_a_film_that_breaks_leaves_nothing(tmp_path: Path, write: Callable[..., Path]) -> None:
    source = film(tmp_path / "film.mp4", num_frames=200, options={"g": "10"})
    data = bytearray(source.read_bytes())
    middle = data.find(b"mdat") + 4 + (data.find(b"moov") - data.find(b"mdat")) // 3
    data[middle : middle + 3000] = bytes(3000)
    source.write_bytes(data)
    with pytest.raises(DecodeError, match=r"film\.mp4: decoding broke at frame \d+ of 200"):
        write(source, 200)
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_face_the_film_is_copied_with_its_caption(tmp_path: Path, make_faces: MakeFaces) -> None:
    source = film(tmp_path / "film.mp4", num_frames=3)
    faces = make_faces({}, time_s=[0.0, 0.04, 0.08])
    path = write_annotated(
        tmp_path, "out", source, said(prob=None, verdict="undetermined"), faces, threshold=0.5
    )
    assert len(shown_frames(path)) == 3


def test_between_two_looks_box_and_prob_move_evenly(make_faces: MakeFaces, make_track: MakeTrack) -> None:
    time_s = np.arange(12) / 25
    faces = make_faces({0: {2: (0, 0, 10, 10), 6: (40, 0, 50, 10)}}, time_s=time_s)
    found = faces_by_frame(said(make_track(0, {(2, 2): 0.2, (6, 6): 0.6})), faces, time_s)
    assert sorted(found) == [2, 3, 4, 5, 6]
    assert [mark.analysed for frame in sorted(found) for mark in found[frame]] == [
        True,
        False,
        False,
        False,
        True,
    ]
    (middle,) = found[4]
    assert middle.box == pytest.approx((20, 0, 30, 10))
    assert middle.prob == pytest.approx(0.4)


def test_people_that_were_not_judged_get_no_box(make_faces: MakeFaces, make_track: MakeTrack) -> None:
    time_s = np.arange(3) / 25
    faces = make_faces({0: {1: (0, 0, 9, 9)}, 1: {1: (20, 0, 29, 9)}}, time_s=time_s)
    found = faces_by_frame(said(make_track(1, {(1, 1): 0.5})), faces, time_s)
    assert [mark.track for mark in found[1]] == [1]


@pytest.mark.parametrize(
    ("looked", "spans", "known"),
    [
        ([3], [], [3]),
        ([1, 4], [], [1, 2, 3, 4]),
        ([1, 2, 60], [], [1, 2, 60]),
        ([1, 3, 6, 8], [(0.04, 0.12), (0.24, 0.32)], [1, 2, 3, 6, 7, 8]),
    ],
)
def test_a_face_is_known_to_be_between_near_looks_of_one_stretch(
    looked: list[int], spans: list[tuple[float, float]], known: list[int]
) -> None:
    assert known_frames(np.array(looked), np.arange(100) / 25, spans).tolist() == known


def test_a_frame_has_the_mean_of_its_windows_or_what_lies_between_its_neighbours() -> None:
    windows = [
        WindowPrediction(start_frame=a, end_frame=b, start_s=0, end_s=0, prob=prob)
        for a, b, prob in ((1, 3, 0.2), (3, 4, 0.6), (8, 8, 1.0))
    ]
    assert frame_probs(windows, 10) == pytest.approx([0.2, 0.2, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((121, 161), (122, 162)), ((120, 160), (120, 160)), ((401, 201), (200, 100)), ((1001, 3), (200, 2))],
)
def test_pictures_become_even_and_no_larger_than_asked_for(
    size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    picture, (wide, high) = fit_even(np.zeros((*size, 3), np.uint8), 200)
    assert picture.shape[:2] == fitted
    if size[0] <= 200:
        assert (wide, high) == (1, 1)
    else:
        assert (wide, high) == pytest.approx((fitted[1] / size[1], fitted[0] / size[0]))


def test_an_odd_picture_repeats_its_last_row_and_column() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    even, _ = fit_even(rgb, 200)
    assert np.array_equal(even[:5, :7], rgb)
    assert np.array_equal(even[5, :7], rgb[4])
    assert np.array_equal(even[:5, 7], rgb[:, 6])
