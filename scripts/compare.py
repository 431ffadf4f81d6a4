"""A table over runs and sweeps: python scripts/compare.py runs=outputs/train/sweep_…"""

from deepfake.cli import run

if __name__ == "__main__":
    run("compare")
