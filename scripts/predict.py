"""Score any videos and images: python scripts/predict.py checkpoint=FILE.ckpt input=FILE_OR_FOLDER"""

from deepfake.cli import run

if __name__ == "__main__":
    run("predict")
