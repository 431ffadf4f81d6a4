"""A table over runs and sweeps, and a plot where one value varies: python scripts/compare.py runs=outputs/train/sweep_…"""

from deepfake.cli import run

if __name__ == "__main__":
    run("compare")
