import numpy as np
import pytest
from PIL import ImageColor

from deepfake.reports.annotate import AnnotatedFace, annotate, text_mask
from deepfake.reports.html import FAKE_COLOUR, REAL_COLOUR, clock

BOX = (60.0, 90.0, 140.0, 170.0)


def grey(value: int = 128) -> np.ndarray:
    return np.full((240, 320, 3), value, np.uint8)


def is_colour(pixel: np.ndarray, colour: str) -> bool:
    return bool(np.abs(pixel.astype(int) - ImageColor.getrgb(colour)).max() <= 4)


def test_the_box_stands_where_it_is_said_and_nothing_inside_it_changes() -> None:
    picture = grey()
    drawn = annotate(picture, [AnnotatedFace(0, BOX, 0.9, True)], "", threshold=0.5)
    for x, y in ((60, 130), (140, 130), (100, 90), (100, 170)):
        assert is_colour(drawn[y, x], FAKE_COLOUR)
    assert (drawn[95:166, 65:136] == 128).all()
    assert (drawn[180:215, 160:] == 128).all()
    assert (picture == 128).all()


@pytest.mark.parametrize(("prob", "colour"), [(0.3, REAL_COLOUR), (0.4, FAKE_COLOUR), (0.41, FAKE_COLOUR)])
def test_colour_turns_at_the_threshold(prob: float, colour: str) -> None:
    drawn = annotate(grey(), [AnnotatedFace(0, BOX, prob, True)], "", threshold=0.4)
    assert is_colour(drawn[130, 60], colour)


def test_a_face_between_two_looks_gets_a_thinner_line() -> None:
    def coloured(looked: bool) -> int:
        drawn = annotate(grey(), [AnnotatedFace(0, BOX, 0.9, looked)], "", threshold=0.5)
        return sum(is_colour(pixel, FAKE_COLOUR) for pixel in drawn[130, 50:70])

    assert (coloured(True), coloured(False)) == (3, 1)


def test_the_bar_is_as_long_as_the_prob() -> None:
    lengths = {}
    for prob in (0.0, 0.25, 0.5, 1.0):
        drawn = annotate(grey(), [AnnotatedFace(0, BOX, prob, True)], "", threshold=0.0)
        lengths[prob] = max(sum(is_colour(p, FAKE_COLOUR) for p in row) for row in drawn[50:85])
    assert lengths[0.0] == 0
    # the tick at the threshold covers up to two pixels
    assert lengths[0.5] == pytest.approx(lengths[1.0] / 2, abs=2)
    assert lengths[0.25] == pytest.approx(lengths[1.0] / 4, abs=2)


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_text_is_light_on_dark_whatever_lies_beneath(ground: int) -> None:
    drawn = annotate(grey(ground), [AnnotatedFace(2, BOX, 0.5, True)], "0:01.00", threshold=0.5)
    for part in (drawn[60:80, 60:110], drawn[225:, :30]):
        assert part.max() > 230
        assert np.percentile(part, 20) < 90


@pytest.mark.parametrize(
    "box", [(-40, -40, 30, 30), (300, 220, 400, 330), (-50, 100, 400, 400), (100, 0, 110, 10)]
)
def test_faces_at_the_rim_are_named_within_the_picture(box: tuple[float, float, float, float]) -> None:
    drawn = annotate(grey(), [AnnotatedFace(0, box, 0.9, True)], "", threshold=0.5)
    name = text_mask("Person 1   0.90", 11)
    assert drawn.shape == (240, 320, 3)
    assert (drawn > 230).all(axis=2).sum() >= (name > 230).sum()


def test_pictures_smaller_than_a_label_are_no_error() -> None:
    drawn = annotate(
        np.zeros((16, 16, 3), np.uint8), [AnnotatedFace(0, (2, 2, 9, 9), 0.9, True)], "x" * 80, threshold=0.5
    )
    assert drawn.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("time_s", "digits", "shown"),
    [
        (0, 2, "0:00.00"),
        (83.237, 2, "1:23.24"),
        (59.999, 2, "1:00.00"),
        (3723.5, 1, "1:02:03.5"),
        (61, 0, "1:01"),
    ],
)
def test_moments_read_as_on_a_clock(time_s: float, digits: int, shown: str) -> None:
    assert clock(time_s, digits=digits) == shown
