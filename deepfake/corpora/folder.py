"""Any videos sorted by hand: <root>/real and <root>/fake, or those two below train, val and test."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from deepfake.corpora.corpus import Corpus
from deepfake.corpora.names import identities_of
from deepfake.errors import UserError
from deepfake.records import FAKE, REAL, SPLITS, Video
from deepfake.text import storable
from deepfake.video.probe import VIDEO_SUFFIXES

CLASSES = {"real": REAL, "fake": FAKE}
LAYOUT = "expected <root>/real and <root>/fake with videos in them (or train, val, test with these two below)"


def folder_corpus(root: str | Path) -> Corpus:
    """The videos below real/ and fake/ at any depth; a first subfolder of fake/ is the method.

    Folders train, val and test are the official protocol. People are known where names follow a known
    dataset's. Raises UserError if the layout is another, with what was found.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; {LAYOUT}")
    try:
        return _corpus(root)
    except OSError as err:
        raise UserError(f"data.root={root}: {err.filename} cannot be listed ({err.strerror})") from err


def _corpus(root: Path) -> Corpus:
    """The videos below a root that is there."""
    below = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    if not set(below) >= set(SPLITS):
        return Corpus(name="folder", videos=tuple(_listed(root, root)))
    videos = {name: _listed(below[name], root) for name in SPLITS}
    return Corpus(
        name="folder",
        videos=tuple(video for part in videos.values() for video in part),
        splits={"official": {video.key: name for name, part in videos.items() for video in part}},
    )


def _listed(folder: Path, root: Path) -> list[Video]:
    """Videos of the real and fake folders in a folder, keys relative to root, without split."""
    below = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    files = {
        path: name
        for name in CLASSES
        if name in below
        for path in sorted(below[name].rglob("*"))
        if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    }
    if set(files.values()) != set(CLASSES):
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        counts = Counter(files.values())
        raise UserError(
            f"{folder}: {counts['real']} real and {counts['fake']} fake videos found; {LAYOUT}; "
            f"it holds: {there}"
        )
    keys = {path: storable(path.relative_to(root).with_suffix("").as_posix()) for path in files}
    twice = {key for key, count in Counter(keys.values()).items() if count > 1}
    videos = []
    for path, name in files.items():
        inner = [storable(part) for part in path.relative_to(below[name]).parts]
        videos.append(
            Video(
                key=storable(path.relative_to(root).as_posix()) if keys[path] in twice else keys[path],
                path=path,
                corpus="folder",
                label=CLASSES[name],
                method=inner[0] if name == "fake" and len(inner) > 1 and inner[0].lower() != "real" else name,
                identities=identities_of(path.stem),
            )
        )
    return videos
