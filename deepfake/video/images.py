"""Still images as videos of one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deepfake.errors import DecodeError
from deepfake.records import Frames

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])


def read_image(path: Path) -> Frames:
    """The image as shown (EXIF orientation applied), one RGB frame; raises DecodeError naming the file."""
    try:
        with Image.open(path) as image:
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as err:  # Pillow raises many kinds for broken files
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise DecodeError(f"{path}: not a readable image ({reason})") from err
    return Frames([rgb], np.zeros(1, np.int64), np.zeros(1))
