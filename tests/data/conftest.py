from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from deepfake.data.augment import Sample
from deepfake.data.selfblend import LANDMARKS
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import SCHEMA, VideoFaces, encode_jpeg
from deepfake.records import REAL, VideoInfo


def picture(side: int, seed: int = 0) -> np.ndarray:
    """A colourful picture with edges and texture, (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(40, 216, (8, 8, 3), np.uint8), (side, side))
    fine = cv2.GaussianBlur(rng.normal(0, 60, (side, side)), (0, 0), 1.5)
    return np.clip(coarse + fine[..., None], 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def moving() -> Sample:
    """A real window of four different frames of 224 px; its face moves to the right and comes nearer."""
    faces = [np.array([90 + 6 * t, 80]) + LANDMARKS * (40 + 4 * t) for t in range(4)]
    return Sample(
        np.stack([picture(224, seed) for seed in range(4)]), np.stack(faces).astype(np.float32), REAL
    )


@pytest.fixture(scope="session")
def still(moving: Sample) -> Sample:
    """A real window of four identical frames of 224 px."""
    frames, landmarks = (np.repeat(part[:1], 4, axis=0) for part in (moving.frames, moving.landmarks))
    return Sample(frames, landmarks, REAL)


@pytest.fixture
def stored(tmp_path: Path, moving: Sample) -> FaceStore:
    """A store of one video with one track of four frames, whose crops of 448 px are stored as 224 px."""
    settings = FaceSettings(max_crop_px=224)
    points = (moving.landmarks * 2 + (10, 20)).reshape(4, 10)
    square = [10, 20, 448]
    rows = [
        dict.fromkeys(SCHEMA.names, 0)
        | {"step": t, "frame": t, "box": [0, 0, 1, 1], "landmarks": points[t].tolist(), "detected": True}
        | {"square": square, "jpeg": encode_jpeg(moving.frames[t], 95)}
        for t in range(4)
    ]
    info = VideoInfo(
        num_frames=4, fps=25, width=500, height=500, rotation_deg=0, codec="h264", container="mp4"
    )
    store = FaceStore(tmp_path, settings)
    store.write("a", VideoFaces(pa.Table.from_pylist(rows, SCHEMA), info, settings, (0, 1, 2, 3)))
    return store
