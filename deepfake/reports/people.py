"""What people, moments and stretches of a video are called, on pages as in annotated videos."""

from __future__ import annotations


def person(track: int) -> str:
    """Track 0 is person 1."""
    return f"Person {track + 1}"


def clock(time_s: float, *, digits: int = 2) -> str:
    """Seconds as minutes or hours: 83.237 -> "1:23.24"."""
    # rounded first, or 59.999 would be 0:60.00
    hundredths = round(time_s * 10**digits)
    minutes, rest = divmod(hundredths, 60 * 10**digits)
    hours, minutes = divmod(minutes, 60)
    width = digits + 3 if digits else 2
    seconds = f"{rest / 10**digits:0{width}.{digits}f}"
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"
