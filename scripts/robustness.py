"""A split under distortions at five levels: python scripts/robustness.py checkpoint=FILE.ckpt data=demo"""

from deepfake.cli import run

if __name__ == "__main__":
    run("robustness")
