"""What a talking head does over time: pose, speech, blinks and gaze, frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from deepfake.corpora.demo.expression import Eyes, Mouth


class Pose(NamedTuple):
    """Where a head is in the frame: centre in pixels, roll in radians, size as a factor, turn and nod as
    shifts of what is nearest to the camera, in units."""

    x_px: float
    y_px: float
    roll: float
    scale: float
    turn: float
    nod: float


class Motion(NamedTuple):
    """One entry a frame."""

    poses: list[Pose]
    mouths: list[Mouth]
    eyes: list[Eyes]


def drift(rng: np.random.Generator, num_frames: int, fps: float, seconds: float) -> np.ndarray:
    """Smooth random movement of unit variance, (num_frames,); seconds is about the time of one swing."""
    sigma = max(seconds * fps / 4, 0.5)
    pad = int(4 * sigma) + 1
    path = gaussian_filter1d(rng.standard_normal(num_frames + 2 * pad), sigma)
    return path[pad:-pad] * np.sqrt(2 * sigma * np.sqrt(np.pi))


def random_poses(
    rng: np.random.Generator, num_frames: int, fps: float, *, centre: tuple[float, float], scale: float
) -> list[Pose]:
    """Somebody who sits and talks, nods and turns a little."""
    lively = rng.uniform(0.5, 1.3)
    sway = [drift(rng, num_frames, fps, seconds) for seconds in (1.6, 1.1, 1.8, 2.5, 1.3, 0.8)]
    amount = (5.0, 2.5, 0.035, 0.012, 0.055, 0.03)
    x, y, roll, grow, turn, nod = (lively * size * path for size, path in zip(amount, sway, strict=True))
    turn = turn + rng.uniform(-0.07, 0.07)
    return [
        Pose(centre[0] + x[t], centre[1] + y[t], roll[t], scale * (1 + grow[t]), turn[t], nod[t])
        for t in range(num_frames)
    ]


def random_speech(rng: np.random.Generator, num_frames: int, fps: float) -> list[Mouth]:
    """Syllables at about four a second, with pauses."""
    time = np.arange(num_frames) / fps
    rate = rng.uniform(3.2, 4.8)
    phase = 2 * np.pi * (rate * time + 0.35 * drift(rng, num_frames, fps, 0.5)) + rng.uniform(0, 6.28)
    loud = np.clip(0.75 + 0.7 * drift(rng, num_frames, fps, 0.7), 0, 1.5)
    jaw = np.clip(0.085 * loud * (1 + np.sin(phase)) - 0.02, 0, 0.23)
    wide = 0.6 * drift(rng, num_frames, fps, 0.3).clip(-1.6, 1.6)
    smile = np.clip(rng.uniform(-0.3, 0.5) + 0.25 * drift(rng, num_frames, fps, 1.5), 0, 1)
    return [Mouth(float(jaw[t]), float(wide[t]), float(smile[t])) for t in range(num_frames)]


def random_eyes(rng: np.random.Generator, num_frames: int, fps: float) -> list[Eyes]:
    """Looks that rest and jump, blinks of a fifth of a second, brows that follow the speech."""
    lids = np.ones(num_frames)
    moment = rng.uniform(0, 1.5)
    while moment * fps < num_frames:
        lids = np.minimum(lids, np.abs(np.arange(num_frames) / fps - moment) / 0.1)
        moment += rng.uniform(0.9, 2.6)
    lids = np.clip(lids * rng.uniform(0.88, 1.05), 0, 1.05)
    looks = rng.normal(0, (0.35, 0.2), (num_frames, 2))
    jumps = np.maximum.accumulate(np.where(rng.random(num_frames) < 1.6 / fps, np.arange(num_frames), 0))
    brow = 0.012 * drift(rng, num_frames, fps, 0.9)
    return [
        Eyes(float(lids[t]), float(looks[jumps[t], 0]), float(looks[jumps[t], 1]), float(brow[t]))
        for t in range(num_frames)
    ]
