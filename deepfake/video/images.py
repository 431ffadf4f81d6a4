"""Still images as videos of one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deepfake.errors import DecodeError
from deepfake.records import Frames
from deepfake.video.limits import LIMITS, LimitReached, Limits, check_file

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""Others are read by other programs (EPS by Ghostscript), or by decoders that hardly anybody looks after."""


def read_image(path: Path, limits: Limits = LIMITS) -> Frames:
    """The image as shown (EXIF orientation applied), one RGB frame; raises DecodeError naming the file.

    What is beyond the limits raises LimitReached, a DecodeError, before any of it is decoded.
    """
    check_file(path, limits)
    try:
        with Image.open(path, formats=FORMATS) as image:
            limits.check_size(*image.size, image=True)
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except LimitReached as err:
        raise LimitReached(f"{path}: {err}") from err
    except Exception as err:  # Pillow raises many kinds for broken files
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise DecodeError(f"{path}: not a readable image ({reason})") from err
    return Frames([rgb], np.zeros(1, np.int64), np.zeros(1))
