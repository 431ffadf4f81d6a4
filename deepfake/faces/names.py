"""Where in a store a video's faces are, whatever its key."""

from __future__ import annotations

from hashlib import sha256
from pathlib import PurePosixPath

from deepfake.errors import UserError

MOST_BYTES = 200  # of 255: suffix, lock and unfinished file need room too


def file_of(key: str) -> str:
    """A key's file below a store's root: "a/b" -> "faces/a/b.arrow".

    Names that no disk would take are cut, and told apart by a hash. Raises UserError for a key that leads
    out of the store.
    """
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts or "\0" in key:
        raise UserError(f"video {key!r}: not a key that a face store can have")
    return f"faces/{'/'.join(map(_cut, parts))}.arrow"


def _cut(name: str) -> str:
    raw = name.encode("utf-8", "backslashreplace")
    if len(raw) <= MOST_BYTES:
        return name
    return f"{raw[: MOST_BYTES - 17].decode('utf-8', 'ignore')}~{sha256(raw).hexdigest()[:16]}"
