"""Extraction for tests: the faces of one file in memory, and a stand-in that detects nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deepfake.faces.extract import Extracted, extract_faces
from deepfake.faces.main_face import try_mask_shares
from deepfake.faces.settings import FaceSettings
from deepfake.faces.store import write_arrow
from deepfake.faces.video_faces import VideoFaces, read_faces


def extracted_faces(path: Path, settings: FaceSettings) -> VideoFaces:
    """What extract_faces writes; the memory-mapped file stays readable after its folder is gone."""
    with TemporaryDirectory() as folder:
        into = Path(folder) / "faces.arrow"
        extract_faces(path, into, settings)
        return read_faces(into)


@dataclass
class FakeExtraction:
    """In place of extract_faces: writes what make(path, settings) returns, and remembers the names."""

    make: Callable[[Path, FaceSettings], VideoFaces]
    names: list[str] = field(default_factory=list)

    def __call__(
        self, path: Path, into: Path, settings: FaceSettings, *, mask: Path | None = None, **_: object
    ) -> Extracted:
        """The faces as they are made, with the shares of the mask if there is one."""
        self.names.append(path.stem)
        faces, error = self.make(path, settings), ""
        if mask is not None:
            shares, error = try_mask_shares(faces, mask)
            faces = replace(faces, mask_shares=shares)
        write_arrow(into, faces.with_metadata())
        return Extracted(frames=len(faces.sampled), faces=len(faces.table), mask_error=error)
