"""How many of the faces that the usual script finds ours has too.

The usual script keeps the largest box of a frame, whatever its score: on four videos of FaceForensics++ that
is now and then a tie or an animal in a picture, at a score of 0.8 to 0.95. Its main face is therefore the
largest one that it is sure of; the share of whatever it keeps is told beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image

from deepfake.benchmarks.baseline import BATCH_FRAMES, largest
from deepfake.faces.sparse import SURE
from deepfake.faces.store import FaceStore
from deepfake.faces.track import iou
from deepfake.faces.video_faces import VideoFaces
from deepfake.parallel import progress_bar
from deepfake.records import Video
from deepfake.video.decode import read_frames
from deepfake.video.probe import scan

MIN_IOU = 0.5


@dataclass
class Recall:
    """Of one kind of face: how many there are, and (video, frame) of those that no stored box matches."""

    faces: int = 0
    missed: list[tuple[str, int]] = field(default_factory=list)

    def add(self, video: str, main: Mapping[int, np.ndarray], faces: VideoFaces) -> None:
        """Count the boxes (1, 4) of a video's frames."""
        self.faces += len(main)
        self.missed += [(video, frame) for frame in unmatched(main, faces)]

    def share(self, name: str) -> dict[str, float]:
        """The share that was matched, under this name; of no faces there is none."""
        return {name: 1 - len(self.missed) / self.faces} if self.faces else {}


def face_recall(store: FaceStore, videos: Sequence[Video], detector: MTCNN) -> tuple[Recall, Recall]:
    """The baseline's main faces, and whatever it keeps, on the frames that the store sampled."""
    main, kept = Recall(), Recall()
    with progress_bar() as progress:
        task = progress.add_task("looking for missed faces", total=len(videos))
        for video in videos:
            faces = store.read(video.key)
            found = list(detected(video, faces, detector))
            for recall, min_score in (main, SURE), (kept, 0.0):
                boxes = {frame: largest(boxes[scores >= min_score]) for frame, boxes, scores in found}
                recall.add(video.key, {frame: box for frame, box in boxes.items() if box is not None}, faces)
            progress.advance(task)
    return main, kept


def detected(
    video: Video, faces: VideoFaces, detector: MTCNN
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Frame, boxes (N, 4) and scores (N,) of the sampled frames on which the baseline finds anything."""
    frames = read_frames(video.path, np.array(faces.sampled, np.int64), scan(video.path))
    for start in range(0, len(faces.sampled), BATCH_FRAMES):
        numbers = faces.sampled[start : start + BATCH_FRAMES]
        found = detector.detect([Image.fromarray(next(frames)) for _ in numbers])
        for number, boxes, scores in zip(numbers, *found, strict=True):
            if boxes is not None:
                yield number, np.asarray(boxes, np.float32), np.asarray(scores, np.float32)


def unmatched(main: Mapping[int, np.ndarray], faces: VideoFaces) -> list[int]:
    """Frames whose main box (1, 4) overlaps no stored box of that frame by at least MIN_IOU."""
    frames, boxes = faces.column("frame"), faces.boxes
    return [frame for frame, box in main.items() if not (iou(box, boxes[frames == frame]) >= MIN_IOU).any()]
