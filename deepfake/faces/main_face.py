"""Which track of a video is its main face, the one that training uses: by mask, by real partner or by size.

FaceForensics++ manipulates one face of a video and does not say which; its masks do.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from deepfake.errors import DecodeError, UserError
from deepfake.faces.association import iou
from deepfake.faces.video_faces import VideoFaces
from deepfake.video.decode import read_frames
from deepfake.video.probe import scan

RULES = ("mask", "partner", "size")

# Masks are lossy video: H.264 leaves ripples of a few grey levels, and black of limited range read as full
# range is 16. Twice that is still far below the white (or antialiased edge) of a mask.
MASK_LEVEL = 32

# A box around the manipulated face holds most of its mask; a neighbour's touches it at most. Below this the
# face was never tracked, or on less than about a third of the frames.
MIN_MASK_SHARE = 0.2


class Choice(NamedTuple):
    """track: the main face; None if there is none, or none shows the manipulated face.

    by: the rule that decided, "" where there was nothing to choose from. shares: what it decided on, for
    each track the mask share or the mean IoU with the partner's face; empty by size.
    """

    track: int | None
    by: str
    shares: tuple[float, ...] = ()


def check_rule(rule: str) -> None:
    """Raise UserError for a rule that is none of RULES."""
    if rule not in RULES:
        raise UserError(f"data.main_face={rule}: must be one of {', '.join(RULES)}")


def choose(faces: VideoFaces, *, rule: str, partner: VideoFaces | None = None) -> Choice:
    """The main face of a video.

    rule: "mask" takes the track that holds most of the mask, and none if that is below MIN_MASK_SHARE;
    "partner" the track that lies best on the main face of partner, the real video a fake was made from;
    "size" track 0, whose boxes have the largest total area. Without a mask or a partner it is by size.
    """
    if not faces.track_rows:
        return Choice(None, "")
    if rule == "mask" and faces.mask_shares:
        best = int(np.argmax(faces.mask_shares))
        held = faces.mask_shares[best] >= MIN_MASK_SHARE
        return Choice(best if held else None, "mask", faces.mask_shares)
    if rule == "partner" and partner is not None:
        overlaps = partner_overlaps(faces, partner)
        if any(overlaps):
            return Choice(int(np.argmax(overlaps)), "partner", overlaps)
    return Choice(0, "size")


def mask_shares(faces: VideoFaces, mask: Path) -> tuple[float, ...]:
    """For each track the share of the manipulated pixels inside its box, a mean over sampled frames.

    mask: video with the frame numbers of the faces' video; it may be shorter, and of another size, to which
    boxes are scaled. Frames without manipulated pixels do not count, frames without the track count 0.
    Empty if no sampled frame has manipulated pixels. Raises DecodeError if the mask cannot be read.
    """
    if not faces.track_rows:
        return ()
    scanned = scan(mask)
    info = scanned.info
    wanted = np.array([index for index in faces.sampled if index < info.num_frames], np.int64)
    boxes = faces.boxes * scale_of(faces, width=info.width, height=info.height)
    frames, tracks = faces.column("frame"), faces.column("track")
    total = np.zeros(len(faces.track_rows))
    num_seen = 0
    for index, rgb in zip(wanted.tolist(), read_frames(mask, wanted, scanned), strict=True):
        region = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) > MASK_LEVEL
        if region.any():
            num_seen += 1
            rows = np.flatnonzero(frames == index)
            total[tracks[rows]] += region_shares(region, boxes[rows])
    return tuple((total / num_seen).tolist()) if num_seen else ()


def try_mask_shares(faces: VideoFaces, mask: Path) -> tuple[tuple[float, ...] | None, str]:
    """The mask shares, and "" or None and why the mask cannot be read."""
    try:
        return mask_shares(faces, mask), ""
    except DecodeError as err:
        return None, str(err)


def region_shares(region: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Share of the true pixels of region (H, W) bool that lies in each of boxes (N, 4), (N,) in [0, 1]."""
    corners = np.rint(boxes).astype(int).clip(0)
    inside = [np.count_nonzero(region[y0:y1, x0:x1]) for x0, y0, x1, y1 in corners]
    return np.array(inside, float) / np.count_nonzero(region)


def partner_overlaps(faces: VideoFaces, partner: VideoFaces) -> tuple[float, ...]:
    """For each track its mean IoU with the partner's main face over the frames that were sampled of both.

    A frame without either face counts 0. Empty if no frame was sampled of both, or partner has no face.
    """
    main = choose(partner, rule="size").track
    num_common = len(set(faces.sampled) & set(partner.sampled))
    if main is None or not num_common:
        return ()
    target_rows = partner.track_rows[main]
    target_boxes = partner.boxes * scale_of(partner, width=faces.info.width, height=faces.info.height)
    target_frames, frames, boxes = partner.column("frame")[target_rows], faces.column("frame"), faces.boxes
    overlaps = []
    for rows in faces.track_rows:
        _, ours, theirs = np.intersect1d(frames[rows], target_frames, return_indices=True)
        pairs = iou(boxes[rows[ours]], target_boxes[target_rows[theirs]])
        overlaps.append(float(np.trace(pairs)) / num_common)
    return tuple(overlaps)


def scale_of(faces: VideoFaces, *, width: int, height: int) -> np.ndarray:
    """(4,) float32 that takes boxes of the faces' video to a picture of this size in pixels."""
    return np.tile(np.array([width / faces.info.width, height / faces.info.height], np.float32), 2)
