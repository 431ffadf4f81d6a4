"""A person: the shape and the colours of a face, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake.corpora.demo.canvas import Colour

SKINS = ((238, 205, 186), (228, 186, 160), (212, 163, 130), (186, 132, 98), (146, 98, 70), (104, 68, 50))
HAIRS = {
    "black": (30, 26, 26),
    "dark brown": (58, 40, 32),
    "brown": (96, 66, 44),
    "light brown": (138, 102, 68),
    "blond": (198, 164, 112),
    "red": (142, 72, 40),
    "grey": (150, 147, 144),
}
IRISES = ((70, 44, 28), (96, 62, 36), (92, 96, 58), (74, 104, 130), (104, 122, 132), (52, 36, 28))
HAIR_STYLES = ("short", "parted", "long", "bob", "curly", "fringe", "receding", "bald", "tied")
BEARDS = ("none", "none", "none", "stubble", "stubble", "moustache", "goatee")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Lengths in units of the drawing board, colours sRGB 0..255, amounts in 0..1."""

    skin: Colour
    half_width: float
    jaw: float
    chin: float
    eye_x: float
    eye_y: float
    eye_half_width: float
    eye_open: float
    eye_tilt: float
    iris: Colour
    brow_y: float
    brow_thickness: float
    brow_arch: float
    brow_density: float
    nose_y: float
    nose_half_width: float
    nose_height: float
    mouth_y: float
    mouth_half_width: float
    mouth_curve: float
    upper_lip: float
    lower_lip: float
    lip_redness: float
    cheeks: float
    ears: float
    age: float
    freckles: float
    beard: str
    hair_style: str
    hair: Colour
    glasses: str
    texture_seed: int

    @property
    def anchors(self) -> np.ndarray:
        """Left eye, right eye and mouth (3, 2), in units, by which one face is aligned with another."""
        eyes = ((-self.eye_x, self.eye_y), (self.eye_x, self.eye_y))
        return np.array((*eyes, (0, self.mouth_y)), np.float32)


def random_person(rng: np.random.Generator, *, tone: float) -> Person:
    """A new person; tone in [0, 1) goes from light to dark skin."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    masculine = rng.random() < 0.5
    age = between(0, 1) ** 1.5
    place = tone * (len(SKINS) - 1)
    shades = [np.interp(place, range(len(SKINS)), [skin[c] for skin in SKINS]) for c in range(3)]
    skin = tuple(float(shade * rng.normal(1, 0.025)) for shade in shades)
    names = list(HAIRS)
    odds = (
        np.array((2, 3, 3, 2, 2, 1, 0.2 + 3 * (age > 0.55)))
        if tone < 0.5
        else np.array((5, 3, 0.5, 0, 0, 0, 1))
    )
    hair = HAIRS[names[rng.choice(len(names), p=odds / odds.sum())]]
    dye = np.clip(rng.normal(1, 0.1), 0.75, 1.15)
    styles = (4, 3, 0.4, 0.2, 1.5, 1, 1.5, 1.2, 0.3) if masculine else (0.7, 1.5, 4, 3, 2, 2, 0, 0.1, 2)
    style = HAIR_STYLES[rng.choice(len(HAIR_STYLES), p=np.array(styles) / sum(styles))]
    return Person(
        skin=(skin[0], skin[1], skin[2]),
        half_width=between(0.69, 0.77),
        jaw=between(1.45, 2.0) + 0.25 * masculine,
        chin=between(2.0, 2.7),
        eye_x=between(0.285, 0.325),
        eye_y=between(-0.05, 0.02),
        eye_half_width=between(0.128, 0.155),
        eye_open=between(0.05, 0.072),
        eye_tilt=between(-0.02, 0.16),
        iris=IRISES[rng.integers(len(IRISES))] if tone < 0.5 else IRISES[rng.choice((0, 1, 5))],
        brow_y=between(-0.235, -0.185),
        brow_thickness=between(0.022, 0.034) + 0.012 * masculine,
        brow_arch=between(0.02, 0.07) - 0.02 * masculine,
        brow_density=between(0.6, 1.0),
        nose_y=between(0.36, 0.43),
        nose_half_width=between(0.105, 0.135) + 0.03 * (tone > 0.6),
        nose_height=between(0.8, 1.25),
        mouth_y=between(0.6, 0.655),
        mouth_half_width=between(0.2, 0.25),
        mouth_curve=between(-0.012, 0.03),
        upper_lip=between(0.035, 0.06) + 0.012 * (not masculine),
        lower_lip=between(0.055, 0.085) + 0.01 * (not masculine),
        lip_redness=between(0.25, 0.5) + between(0, 0.4) * (not masculine),
        cheeks=between(0.2, 1.0),
        ears=between(0.8, 1.15),
        age=age,
        freckles=between(0, 1) if tone < 0.4 and rng.random() < 0.4 else 0.0,
        beard=BEARDS[rng.integers(len(BEARDS))] if masculine else "none",
        hair_style=style,
        hair=(float(hair[0] * dye), float(hair[1] * dye), float(hair[2] * dye)),
        glasses=("none", "none", "none", "none", "round", "square", "rimless")[rng.integers(7)],
        texture_seed=int(rng.integers(2**31)),
    )
