import cv2
import numpy as np

from deepfake.prediction.explain import draw_heat_map


def face() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (40, 40, 3)).astype(np.uint8)


def test_where_nothing_is_hot_the_grey_face_shows() -> None:
    grey = cv2.cvtColor(face(), cv2.COLOR_RGB2GRAY)
    assert np.array_equal(draw_heat_map(face(), np.zeros((5, 5))), np.repeat(grey[..., None], 3, axis=2))


def test_the_hotter_a_place_the_lighter_it_is_and_the_more_its_colour_covers() -> None:
    flat = np.full((10, 50, 3), 20, np.uint8)
    shown = draw_heat_map(flat[:10, :10], np.ones((1, 1)))
    colours = [
        draw_heat_map(flat[:10, :10], np.full((2, 2), heat))[5, 5].astype(int)
        for heat in (0, 0.25, 0.5, 0.75, 1)
    ]
    lightness = [int(cv2.cvtColor(c.astype(np.uint8)[None, None], cv2.COLOR_RGB2GRAY)[0, 0]) for c in colours]
    assert lightness == sorted(set(lightness))
    assert np.array_equal(shown[5, 5], colours[-1])
    assert colours[-1].tolist() == [
        round(0.2 * 20 + 0.8 * c) for c in (252, 255, 164)
    ]  # inferno's last colour


def test_heat_lies_on_the_square_that_the_detector_saw() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[0, 0] = 1
    cold, shown = (
        draw_heat_map(face(), 0 * heat, start_px=8, side_px=24),
        draw_heat_map(face(), heat, start_px=8, side_px=24),
    )
    assert (cold[8, 8:32] == 255).all()
    assert (cold[8:32, 31] == 255).all()
    changed = (cold != shown).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) == (9, 9)
    assert max(rows.max(), columns.max()) < 8 + 24 / 8 * 1.5 + 1
