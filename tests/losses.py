"""Whether runs logged the same losses, to the last digit: python tests/losses.py RUN_BEFORE RUN_AFTER"""

import csv
import sys
from pathlib import Path


def losses(run_dir: Path) -> list[tuple[str, ...]]:
    """Epoch, step, name and value of every loss that a run logged, as written."""
    rows = []
    for log in sorted(run_dir.glob("logs/version_*/metrics.csv")):
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                rows += [(row["epoch"], row["step"], k, v) for k, v in row.items() if "loss" in k and v]
    return rows


def differences(before: Path, after: Path) -> list[str]:
    """What differs first, and how many do; nothing where both runs logged the same losses."""
    ours, theirs = losses(before), losses(after)
    if not ours or len(ours) != len(theirs):
        return [f"{before} has {len(ours)} losses, {after} has {len(theirs)}"]
    wrong = [f"{a} became {b}" for a, b in zip(ours, theirs, strict=True) if a != b]
    return [f"{len(wrong)} of {len(ours)} losses differ, the first: {wrong[0]}"] if wrong else []


if __name__ == "__main__":
    found = differences(Path(sys.argv[1]), Path(sys.argv[2]))
    print(*found or [f"all {len(losses(Path(sys.argv[1])))} losses are identical"])
    sys.exit(bool(found))
