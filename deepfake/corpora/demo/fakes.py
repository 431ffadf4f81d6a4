"""Two manipulations of a clip, with the artifacts of real ones.

swap: the inner face of another person with the target's expression, rendered at low resolution, matched in
colour and blended in, slightly misplaced in each frame. reenact: the target's own mouth region with other
speech, rendered at low resolution and blended in. Both start from frames with sensor noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from deepfake.corpora.demo.canvas import HEIGHT, UNIT_PX, WIDTH, axes, blur, step, to_px
from deepfake.corpora.demo.footage import Footage, film_frame, in_frame, random_speech
from deepfake.corpora.demo.heads import build_head, draw_face
from deepfake.corpora.demo.people import Person

FACE_UNITS = 2.0  # side of the square that a generator renders, in units of the board


def swapped_frames(
    rng: np.random.Generator,
    footage: Footage,
    frames: Iterator[np.ndarray],
    donor: Person,
    *,
    jitter_px: float = 1.6,
) -> Iterator[np.ndarray]:
    """Frames of the clip with the donor's inner face, (H, W, 3) uint8 each."""
    inner = replace(donor, hair_style="bald", glasses=footage.head.person.glasses)
    head = build_head(inner, footage.head.light)
    side_px = int(rng.integers(52, 85))
    fit = cv2.getAffineTransform(to_px(donor.anchors), to_px(footage.head.person.anchors)).astype(np.float32)
    mask = _inner_face(footage.head.person)
    match = None
    for index, frame in enumerate(frames):
        board = draw_face(head, footage.motion.mouths[index], footage.motion.eyes[index])
        face = cv2.warpAffine(board, fit, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        patch = _misplaced(rng, footage, index, _at_resolution(face, side_px), mask, jitter_px)
        match = match or _colour_match(patch, frame)
        yield _blend(frame, patch, *match)


def reenacted_frames(
    rng: np.random.Generator, footage: Footage, frames: Iterator[np.ndarray], *, jitter_px: float = 1.4
) -> Iterator[np.ndarray]:
    """Frames of the clip with other speech in the mouth region, (H, W, 3) uint8 each."""
    side_px = int(rng.integers(44, 73))
    speech = random_speech(rng, footage.num_frames, footage.fps)
    mask = _mouth_region(footage.head.person)
    tint = rng.normal(1, 0.035, 3).astype(np.float32)
    for index, frame in enumerate(frames):
        board = draw_face(footage.head, speech[index], footage.motion.eyes[index])
        patch = _misplaced(rng, footage, index, _at_resolution(board, side_px), mask, jitter_px)
        yield _blend(frame, patch, tint, np.zeros(3, np.float32))


def real_frames(footage: Footage) -> Iterator[np.ndarray]:
    """Frames of the clip without manipulation."""
    return (film_frame(footage, index) for index in range(footage.num_frames))


def _inner_face(person: Person) -> np.ndarray:
    """Soft mask of brows, eyes, nose and mouth, (HEIGHT, WIDTH) uint8."""
    x, y = axes()
    return _soft(1 - np.hypot(x / (0.82 * person.half_width), (y - 0.26) / 0.6))


def _mouth_region(person: Person) -> np.ndarray:
    """Soft mask of mouth and chin, (HEIGHT, WIDTH) uint8."""
    x, y = axes()
    return _soft(1 - np.hypot(x / (1.9 * person.mouth_half_width), (y - person.mouth_y - 0.02) / 0.32))


def _soft(inside: np.ndarray) -> np.ndarray:
    return (255 * blur(step(inside, 0.08).astype(np.float32), 4)).astype(np.uint8)


def _at_resolution(board: np.ndarray, side_px: int) -> np.ndarray:
    """A board (HEIGHT, WIDTH, 4) as from a generator that renders a face at side_px by side_px pixels."""
    factor = side_px / (FACE_UNITS * UNIT_PX)
    small = cv2.resize(board, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _misplaced(  # noqa: PLR0917
    rng: np.random.Generator,
    footage: Footage,
    index: int,
    face: np.ndarray,
    mask: np.ndarray,
    jitter_px: float,
) -> np.ndarray:
    """A face and its mask in a frame, (H, W, 4) uint8, slightly off as by a face tracker."""
    pose = footage.motion.poses[index]
    right, down = rng.normal(0, jitter_px / 2, 2)
    pose = pose._replace(
        x_px=pose.x_px + right,
        y_px=pose.y_px + down,
        roll=pose.roll + rng.normal(0, 0.006),
        scale=pose.scale * (1 + rng.normal(0, 0.006)),
    )
    solid = cv2.min(mask, face[..., 3])
    board = cv2.merge([*cv2.split(face[..., :3]), solid])
    return in_frame(board, footage.head.depth, pose, footage.room.shape[:2])


def _colour_match(patch: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset (3,) that give the patch the frame's mean and spread of colour under the mask."""
    inside = patch[..., 3] > 128
    ours, theirs = patch[inside][:, :3].astype(np.float32), frame[inside].astype(np.float32)
    gain = np.clip(theirs.std(axis=0) / np.maximum(ours.std(axis=0), 1), 0.8, 1.2)
    return gain, theirs.mean(axis=0) - gain * ours.mean(axis=0)


def _blend(frame: np.ndarray, patch: np.ndarray, gain: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The patch's colours, corrected, over the frame under the patch's mask."""
    x, y, width, height = cv2.boundingRect(patch[..., 3])
    part = np.s_[y : y + height, x : x + width]
    alpha = patch[part][..., 3:].astype(np.float32) / 255
    mixed = frame[part] + (patch[part][..., :3] * gain + offset - frame[part]) * alpha
    blended = frame.copy()
    blended[part] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return blended
