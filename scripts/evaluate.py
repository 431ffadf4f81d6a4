"""Score a corpus with a checkpoint: python scripts/evaluate.py checkpoint=FILE.ckpt data=demo split=test"""

from deepfake.cli import run

if __name__ == "__main__":
    run("evaluate")
