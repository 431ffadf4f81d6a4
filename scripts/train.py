"""Train a detector and test its best checkpoint: python scripts/train.py model=meso_lstm data=demo"""

from deepfake.cli import run

if __name__ == "__main__":
    run("train")
