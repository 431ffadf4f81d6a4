"""The colours of pages, plots and annotated videos."""

REAL_COLOUR, FAKE_COLOUR, INK = "#2a7f9e", "#c8553d", "#333333"


def rgb_of(colour: str) -> tuple[int, int, int]:
    """ "#c8553d" -> (200, 85, 61)."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
