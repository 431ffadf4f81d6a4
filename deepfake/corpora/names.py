"""File names of the known datasets, and who is in a video by its name."""

from __future__ import annotations

import re

FFPP_REAL = re.compile(r"(?P<ffpp>\d{3})")
FFPP_FAKE = re.compile(r"(?P<ffpp>\d{3})_(?P<ffpp_source>\d{3})")
SCENE = r"[a-z]+(?:_[a-z]+)*"
DFD_REAL = re.compile(rf"(?P<dfd>\d{{2}})__{SCENE}")
DFD_FAKE = re.compile(rf"(?P<dfd>\d{{2}})_(?P<dfd_source>\d{{2}})__{SCENE}__[A-Z0-9]{{8}}")
CELEBDF_REAL = re.compile(r"(?P<cdf>id\d+)_\d{4}")
CELEBDF_FAKE = re.compile(r"(?P<cdf>id\d+)_(?P<cdf_source>id\d+)_\d{4}")
DEEPERFORENSICS_FAKE = re.compile(r"(?P<ffpp>\d{3})_(?P<dfo_source>[MW][01]\d{2})")

GRAMMARS = (FFPP_REAL, FFPP_FAKE, DFD_REAL, DFD_FAKE, CELEBDF_REAL, CELEBDF_FAKE, DEEPERFORENSICS_FAKE)


def identities_of(stem: str) -> tuple[str, ...]:
    """Target, then source of a fake, or the one person of a real video, as "dataset:id"; () if unknown.

    Group names in the grammars are the datasets'; DeeperForensics targets are FaceForensics++ videos.
    """
    for grammar in GRAMMARS:
        if found := grammar.fullmatch(stem):
            return tuple(f"{name.partition('_')[0]}:{value}" for name, value in found.groupdict().items())
    return ()
