"""Measure speed, size and robustness against yardsticks: python scripts/benchmark.py target=extract"""

import sys
from pathlib import Path

from deepfake.cli import run

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is not part of the installed package
    run("benchmark", module="benchmarks.run")
