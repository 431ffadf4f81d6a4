"""The values that decide what is cut out of a video; they stand in every store file and checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from deepfake.errors import UserError

SAMPLING = ("num_clips", "clip_frames", "at_key_frames")
"""How much of a video is searched for faces."""
TRACKING = ("min_iou", "max_gap_frames", "max_jump", "cut_distance", "look_near", "look_far")
"""Which faces are one person. Neither group changes how a face is cut out of a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSettings:
    """How faces are sampled, detected, tracked and cut.

    num_clips: clips of consecutive frames, evenly spread over the video; None = every frame, clip_frames of
    them at a time. clip_frames: frames per clip.
    at_key_frames: clips begin at key frames where there are any near, since what lies before need not be
    decoded; not with sample_fps.
    sample_fps: if set, a clip's frames stand 1/sample_fps seconds apart instead of being consecutive.
    short_side_px: frames are reduced to this short side for detection only. min_face_px: smallest face
    looked for, in the reduced frame. min_score: detections below it are dropped.
    detect_every: frames of a clip from one detection to the next; the boxes between are interpolated where
    the two agree, else every frame is detected, as all are with 1.
    min_agreement: IoU of the two boxes of a face at which they agree.
    min_iou: overlap at which two boxes of neighbouring frames are one face. max_gap_frames: sampled frames
    a track may miss within a clip. max_jump: distance from clip to clip, in face sides, that is still one
    face.
    cut_distance: colour distance of neighbouring pictures, in [0, 1], from which on a shot cut lies between;
    None = none is looked for. look_near: colour distance up to which a face within max_jump is the same
    person; look_far: that up to which any is, wherever it was, and behind a cut. Both None = people are told
    apart by position alone, blind to cuts, as before these values.
    smooth_frames: length of the moving average over a clip's boxes (odd; 1 = none).
    margin: side of the stored crop over the longer side of the box. max_crop_px: larger crops are reduced
    to this side. jpeg_quality: of the stored crops (4:4:4).
    """

    num_clips: int | None = 16
    clip_frames: int = 8
    at_key_frames: bool = False
    sample_fps: float | None = None
    short_side_px: int = 320
    min_face_px: int = 40
    min_score: float = 0.9
    detect_every: int = 7
    min_agreement: float = 0.6
    min_iou: float = 0.3
    max_gap_frames: int = 2
    max_jump: float = 1.5
    cut_distance: float | None = 0.2
    look_near: float | None = 0.25
    look_far: float | None = 0.18
    smooth_frames: int = 5
    margin: float = 1.6
    max_crop_px: int = 512
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        counts = "num_clips clip_frames short_side_px min_face_px detect_every smooth_frames max_crop_px"
        for name in counts.split():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"faces.{name}={value}: must be at least 1")
        for name in ("cut_distance", "look_far", "look_near"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"faces.{name}={value}: must be 0 to 1")
        for name in ("look_near", "max_jump"):
            value = getattr(self, name)
            if value is not None and value <= 0:  # costs are measured in these
                raise UserError(f"faces.{name}={value}: must be above 0")
        if (self.look_near is None) != (self.look_far is None):
            raise UserError(
                f"faces.look_near={self.look_near}, faces.look_far={self.look_far}: set both, or both to null"
            )
        if self.look_near is None and self.cut_distance is not None:
            raise UserError("faces.cut_distance: needs faces.look_near and faces.look_far, or set it to null")
        if self.margin < 1:
            raise UserError(
                f"faces.margin={self.margin}: must be at least 1 (1.6 leaves room for augmentation)"
            )
        if not 1 <= self.jpeg_quality <= 100:
            raise UserError(f"faces.jpeg_quality={self.jpeg_quality}: must be 1 to 100")
        if self.sample_fps is not None and self.sample_fps <= 0:
            raise UserError(
                f"faces.sample_fps={self.sample_fps}: must be above 0, or null for consecutive frames"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON and for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FaceSettings:
        """Inverse of to_dict; raises UserError for a key that is unknown or missing."""
        known = {field.name for field in fields(cls)}
        if wrong := sorted(known ^ set(values)):
            raise UserError(
                f"extraction settings {wrong} are unknown or missing: written by another version?"
            )
        every_frame = {"num_clips": None} if values.get("num_clips") == "all" else {}
        return cls(**(dict(values) | every_frame))

    def differences(self, other: FaceSettings) -> str:
        """ "name: ours != theirs" for every value that differs, joined by commas; empty if none does."""
        ours, theirs = self.to_dict(), other.to_dict()
        return ", ".join(f"{k}: {ours[k]} != {theirs[k]}" for k in ours if ours[k] != theirs[k])
